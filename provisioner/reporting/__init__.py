"""Reports about a run for people and programs: the status file, progress, log lines, and reports as text or JSON.

Nothing here makes decisions, or changes anything on the volume.
"""
