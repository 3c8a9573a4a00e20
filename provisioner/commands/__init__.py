"""The commands, one module each: it takes what the command line asks for and returns a result for people and for programs.

Nothing here prints, exits or fetches; the work is done by :mod:`provisioner.engine`.
"""
