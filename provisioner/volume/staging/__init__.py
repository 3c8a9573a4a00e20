"""Bytes that are still arriving: partial files that survive a crash, their hashes, and copies already on this machine.

Published data belong in :mod:`provisioner.volume.store`.
"""
