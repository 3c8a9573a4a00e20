"""Single operations on the file system that must be right: write, sync, replace, remove, lock, and what kind of mount it is.

Nothing here knows what a data set is.
"""
