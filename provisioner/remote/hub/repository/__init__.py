"""The user's data-set repository: find its name, create it if missing, check that it is writable; never overwrite anything.

All requests go through a :class:`~provisioner.remote.hub.client.HubClient`; the rest is pure. The caller decides whether a
failure ends the run.
"""
