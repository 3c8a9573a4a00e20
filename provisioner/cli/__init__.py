"""The command line: arguments, signals, output, the hand-off to the app, and the mapping of errors to texts and exit codes.

The work of the commands is in :mod:`provisioner.commands`.
"""
