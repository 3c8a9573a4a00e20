"""The progress page, metrics and health endpoints: their content, and the server for the page's port.

Imported only if the page or ``METRICS_FILE`` is enabled. Nothing here changes the volume, and a run never fails because of it.
"""
