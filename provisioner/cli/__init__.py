"""The command line: arguments, signals, output, the hand-off to the app, and the mapping of errors to texts and exit codes.

What a command does is not here but in :mod:`provisioner.commands`.
"""
