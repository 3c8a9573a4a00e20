"""The server: nginx with a configuration of its own, serving plain files, a Hub made of files, and a host that holds back.

There are three ports. The Hub answers for listings and redirects LFS files; the second port holds the bytes of those and of
direct URLs, as a content network does; the third is the second with a limit on each connection's rate and on their number.
:meth:`Server.far` opens further ports, which lead to the first two through :mod:`benchmarks.distance`.
nginx's own process and directories are all below the work directory; the system's nginx is not touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from benchmarks.data import Corpus, File

ROOT: Final = Path(__file__).resolve().parent.parent
OWNER: Final = "bench"
CAPPED_RATE: Final = 20_000_000
"""Bytes a second of one connection to the third port."""
CAPPED_CONNECTIONS: Final = 8
_PAGE_FILES: Final = 1000
"""Entries of one page of a listing, as on the Hub."""

_CONFIGURATION: Final = """\
{user}
worker_processes 2;
daemon off;
pid nginx.pid;
error_log error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  log_format short '$server_port $status $body_bytes_sent "$request"';
  access_log access.log short;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  types {{ application/gzip gz; application/x-tar tar; application/zip zip; }}
  default_type application/octet-stream;
  sendfile on; tcp_nopush on; keepalive_requests 1000000; keepalive_timeout 75s; server_tokens off;
  open_file_cache off;
  map_hash_max_size 524288; map_hash_bucket_size 256; variables_hash_max_size 4096;
  limit_conn_zone $binary_remote_addr zone=clients:1m;
  include maps.conf;
  map $arg_cursor $page {{ "" 0; default $arg_cursor; }}
  # No header is sent for an empty value.
  map $next_page $next_link {{ "" ""; default '<http://$http_host$next_page>; rel="next"'; }}
  # Who came by the far port of the Hub is sent to the far port of the files.
  map $http_host $files_host {{ default "127.0.0.1:{cdn}"; "127.0.0.1:{far_hub}" "127.0.0.1:{far_files}"; }}

  server {{
    listen 127.0.0.1:{hub};
    root hub;
    location ~ ^/api/datasets/{owner}/(?<repo>[^/]+)/tree/ {{
      default_type application/json;
      add_header Link $next_link;
      try_files /$repo/tree-$page.json =404;
    }}
    location ~ ^/api/datasets/{owner}/(?<repo>[^/]+)(/revision/[^/]+)?$ {{
      default_type application/json;
      try_files /$repo/info.json =404;
    }}
    location ~ ^/datasets/{owner}/(?<repo>[^/]+)/resolve/[^/]+/(?<path>.+)$ {{
      add_header X-Repo-Commit $commit;
      if ($linked_etag) {{
        add_header X-Repo-Commit $commit;
        add_header X-Linked-Etag $linked_etag;
        add_header X-Linked-Size $linked_size;
        return 302 http://$files_host/$folder/$path;
      }}
      alias {files}/$folder/$path;
    }}
    location / {{ return 404; }}
  }}
  server {{ listen 127.0.0.1:{cdn}; root {files}; }}
  server {{
    listen 127.0.0.1:{capped};
    root {files};
    limit_rate {rate};
    limit_conn clients {connections};
  }}
}}
"""


class Server:
    """nginx, from its start to its end."""

    def __init__(self, work: Path, files: Path) -> None:
        """Prepare its directory; :meth:`add_repo` what it shall serve, then use it as a context manager."""
        self.folder = work / "nginx"
        self._files = files
        self._repos: dict[str, tuple[str, bool, Corpus]] = {}
        self._hub, self._cdn, self._capped, self._far_hub, self._far_files = _free_ports(5)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def hub(self) -> str:
        """What `HF_ENDPOINT` wants."""
        return f"http://127.0.0.1:{self._hub}"

    @property
    def files(self) -> str:
        """Where direct URLs begin."""
        return f"http://127.0.0.1:{self._cdn}"

    @property
    def capped(self) -> str:
        """The same, slowly."""
        return f"http://127.0.0.1:{self._capped}"

    @property
    def far_hub(self) -> str:
        """The Hub by its far port, while a block of :meth:`far` runs."""
        return f"http://127.0.0.1:{self._far_hub}"

    @property
    def far_files(self) -> str:
        """The files by their far port, while a block of :meth:`far` runs."""
        return f"http://127.0.0.1:{self._far_files}"

    @contextlib.contextmanager
    def far(self, *, round_trip: float, rate: int | None = None, most: int | None = None) -> Iterator[Path]:
        """Let both be reached from far away while the block runs.

        Args:
            round_trip: seconds.
            rate: bytes a second of one connection; ``None``: no limit.
            most: connections at once; ``None``: any number.

        Returns:
            The proxy's output: a line for each connection that it refused.
        """
        words = [sys.executable, "-m", "benchmarks.distance", "--round-trip", str(round_trip)]
        words += ["--rate", str(rate)] if rate is not None else []
        words += ["--most", str(most)] if most is not None else []
        words += [f"{self._far_hub}:{self._hub}", f"{self._far_files}:{self._cdn}"]
        log = self.folder / "distance.log"
        with log.open("wb") as output, subprocess.Popen(words, stdout=output, stdin=subprocess.DEVNULL, cwd=ROOT) as proxy:
            try:
                _wait_for(self._far_files)
                yield log
            finally:
                proxy.terminate()

    def add_repo(self, name: str, corpus: Corpus, *, lfs: bool) -> str:
        """Serve a corpus as a data-set repository of that name; give its full name."""
        self._repos[name] = (commit_of(name), lfs, corpus)
        return f"{OWNER}/{name}"

    def requests(self) -> int:
        """Count the requests answered so far."""
        with (self.folder / "access.log").open("rb") as log:
            return sum(1 for _ in log)

    def __enter__(self) -> Self:
        """Write the configuration, start, and wait until it answers."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "temp").mkdir(parents=True)
        self._write_hub()
        text = _CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",
            hub=self._hub,
            cdn=self._cdn,
            capped=self._capped,
            far_hub=self._far_hub,
            far_files=self._far_files,
            owner=OWNER,
            files=self._files,
            rate=CAPPED_RATE,
            connections=CAPPED_CONNECTIONS,
        )
        (self.folder / "nginx.conf").write_text(text, encoding="utf-8")
        words = ["nginx", "-p", str(self.folder), "-e", "error.log", "-c", "nginx.conf"]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """End nginx."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        _wait_for(self._capped)
        for name in self._repos:
            with urllib.request.urlopen(f"{self.hub}/api/datasets/{OWNER}/{name}/revision/main") as answer:
                json.load(answer)

    def _write_hub(self) -> None:
        """Write listings, and what nginx says of each file in its headers."""
        commits, folders, pages, etags, sizes = [], [], [], [], []
        for name, (commit, lfs, corpus) in self._repos.items():
            folder = self.folder / "hub" / name
            folder.mkdir(parents=True)
            entries = list(_entries(corpus.files, lfs=lfs))
            info: dict[str, Any] = {
                "_id": commit[:24],
                "id": f"{OWNER}/{name}",
                "author": OWNER,
                "sha": commit,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": file.path} for file in corpus.files],
            }
            (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
            starts = range(0, len(entries), _PAGE_FILES)
            for page, start in enumerate(starts):
                (folder / f"tree-{page}.json").write_text(json.dumps(entries[start : start + _PAGE_FILES]), encoding="utf-8")
                if page + 1 < len(starts):
                    tree = f"/api/datasets/{OWNER}/{name}/tree/{commit}"
                    pages.append(f'"{name}/{page}" "{tree}?recursive=true&expand=false&cursor={page + 1}";')
            commits.append(f'"{name}" "{commit}";')
            folders.append(f'"{name}" "{corpus.name}";')
            for file in corpus.files if lfs else ():
                etags.append(f'"{name}/{file.path}" "\\"{file.sha256}\\"";')
                sizes.append(f'"{name}/{file.path}" "{file.size}";')
        maps = [
            _map("$repo", "$commit", commits),
            _map("$repo", "$folder", folders),
            _map('"$repo/$page"', "$next_page", pages),
            _map('"$repo/$path"', "$linked_etag", etags),
            _map('"$repo/$path"', "$linked_size", sizes),
        ]
        (self.folder / "maps.conf").write_text("\n".join(maps), encoding="utf-8")


def _wait_for(port: int) -> None:
    """Wait until somebody listens, ten seconds at most."""
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)


def commit_of(repo: str) -> str:
    """Return the commit that the repository's branch points to."""
    return hashlib.sha1(repo.encode(), usedforsecurity=False).hexdigest()


def _map(key: str, name: str, lines: Iterable[str]) -> str:
    return "\n".join([f'map {key} {name} {{ default "";', *lines, "}"])


def _entries(files: Iterable[File], *, lfs: bool) -> Iterable[dict[str, Any]]:
    folders = set()
    for file in files:
        folder = file.path.rpartition("/")[0]
        if folder and folder not in folders:
            folders.add(folder)
            yield {
                "type": "directory",
                "oid": hashlib.sha1(folder.encode(), usedforsecurity=False).hexdigest(),
                "size": 0,
                "path": folder,
            }
        entry: dict[str, Any] = {"type": "file", "oid": file.blob, "size": file.size, "path": file.path}
        if lfs:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        yield entry


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
