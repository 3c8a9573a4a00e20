"""The network edge: names, listings and bytes from elsewhere, and the user's repository; nothing here writes to the volume.

What comes in are plain values, what goes out are values and the errors of :mod:`provisioner.errors`: no exception of a
library crosses this edge. One policy (:mod:`provisioner.remote.retry`) decides what is asked again, how often and how long.
"""
