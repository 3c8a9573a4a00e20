"""The Hub: revisions, listings, permissions and the user's repositories.

The Hub client library is imported here alone.
The bytes of data sets come through :mod:`provisioner.remote.http`.
"""
