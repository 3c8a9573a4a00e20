"""Bytes over HTTP: one client with its connections, redirects, limits, ranges and errors, for every kind of source.

The meaning of a Hub's responses belongs in :mod:`provisioner.remote.hub`.
"""
