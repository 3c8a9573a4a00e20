"""Settings: their declarations, and the reading of the command line, the environment and the config file into one frozen value.

The environment is an argument of the reader; nothing in this package accesses the process's own.
"""
