"""A stand-in for your app: answers on the Space's port with the names of the data sets that it was given."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Datasets(BaseHTTPRequestHandler):
    """Lists what lies in the directory that the provisioner named."""

    def do_GET(self) -> None:  # the name that http.server looks for
        """Answer every path with the list."""
        body = json.dumps(sorted(path.name for path in Path(os.environ["DATASETS_DIR"]).iterdir())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # As process 1 it is told to end by SIGTERM, which a process 1 without a handler ignores.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "7860"))), Datasets).serve_forever()
