"""Settings: their declarations, and a reader that turns command line, environment and config file into one frozen value.

The environment is an argument of the reader; nothing in this package accesses that of the process.
"""
