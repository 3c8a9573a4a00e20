"""The user's data-set repository: named, made if missing, proved writable, remembered. Nothing in it is ever overwritten.

Every question goes through a :class:`~provisioner.remote.hub.client.HubClient`; the rest is pure. Whether a failure ends the
run is decided by the caller.
"""
