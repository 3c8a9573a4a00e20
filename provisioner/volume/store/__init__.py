"""What is published on a volume: where it lies, its manifests and receipts, and how a version appears, changes and goes.

Bytes that are still arriving belong in :mod:`provisioner.volume.staging`.
"""
