"""The network: sources, transfers, the Hub, and the user's repositories there; nothing here writes to the volume.

Functions get plain values and raise only the errors of :mod:`provisioner.errors`, never those of a library. One policy
(:mod:`provisioner.remote.retry`) decides what is retried, how often and how long.
"""
