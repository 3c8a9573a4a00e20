"""What should exist: data sets, phases, sources and licences as values, and the parser that makes them from YAML.

Everything here is pure. What is on a volume, and what to do about it, belongs in :mod:`provisioner.planning`.
"""
