"""The commands, one module each: a command takes a request and returns a result for people and for programs.

Nothing here writes to standard output or ends the process, and the work itself is done by :mod:`provisioner.engine`. A new
command is one module, with ``DESCRIPTION``, ``add_arguments`` and ``run``, and one entry in
:mod:`provisioner.commands.registry`.
"""
