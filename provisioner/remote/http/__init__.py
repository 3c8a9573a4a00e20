"""Bytes over HTTP: one client with its connections, redirects, limits, ranges and errors, for every kind of source.

What responses of a Hub mean belongs in :mod:`provisioner.remote.hub`.
"""
