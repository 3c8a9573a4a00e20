"""The Hub: revisions, listings, permissions and the user's repositories.

Only this package imports the Hub client library. The bytes of data sets come through :mod:`provisioner.remote.http`.
"""
