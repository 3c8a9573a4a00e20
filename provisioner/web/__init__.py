"""The progress page, metrics and health endpoints: what they show, and the server that answers on the page's port.

Imported only when the page or ``METRICS_FILE`` is on. Nothing here changes the volume, and a run never fails because of it.
"""
