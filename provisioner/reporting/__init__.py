"""What people and programs are told of a run: the status file, progress, log lines, and reports as text or JSON.

Nothing here decides anything, or changes anything on the volume.
"""
