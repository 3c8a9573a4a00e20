"""What is told of a run: the status file, progress, log lines and tables.

Nothing here decides or changes anything on the volume.
"""
