"""Settings: from the command line, the environment and the config file to one frozen value, and their descriptions.

The environment is handed in as a mapping; nothing here reads it by itself.
"""
