"""The command line: arguments, signals, what is printed, and the one place where an error becomes a text and an exit code.

What a command does is not here but in :mod:`provisioner.commands`.
"""
