"""What people and programs are told about a run: the status file, progress, log lines, and reports as text or JSON.

Nothing here makes decisions, or changes anything on the volume.
"""
