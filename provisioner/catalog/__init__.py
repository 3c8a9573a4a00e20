"""The catalog of expected data: data sets, phases, sources and licences as values, and the parser that reads them from YAML.

Everything here is pure. Code about what is on a volume, and what to do about it, belongs in :mod:`provisioner.planning`.
"""
