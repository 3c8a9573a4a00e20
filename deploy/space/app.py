"""A placeholder for your app: answers on the Space's port with the names of its data sets."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Datasets(BaseHTTPRequestHandler):
    """Answers requests with the contents of the directory that the provisioner filled."""

    def do_GET(self) -> None:  # the name that http.server looks for
        """Return the list for every path."""
        body = json.dumps(sorted(path.name for path in Path(os.environ["DATASETS_DIR"]).iterdir())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # The container is stopped with SIGTERM, which process 1 ignores unless it has a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "7860"))), Datasets).serve_forever()
