"""The versions of data sets on a volume: their paths, trees, manifests and receipts, and how they are published and removed.

Bytes that are still being fetched belong in :mod:`provisioner.volume.staging`; operations that know nothing of the volume's
layout belong in :mod:`provisioner.volume.fs`.
"""
