"""The network: sources, transfers, the Hub, and the user's repositories there; nothing here writes to the volume.

Functions get plain values and raise the errors of :mod:`provisioner.errors` alone, never those of a library. One policy
(:mod:`provisioner.remote.retry`) decides what is retried, how often and how long.
"""
