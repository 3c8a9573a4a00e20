"""Bytes over HTTP: one client with its connections, redirects, ranges and errors, for every kind of source.

What a Hub's answers mean belongs in :mod:`provisioner.remote.hub`.
"""
