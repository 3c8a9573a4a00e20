"""Bytes on their way in: partial files that survive a crash, their hashes, and copies that are already on this machine.

What is published belongs in :mod:`provisioner.volume.store`.
"""
