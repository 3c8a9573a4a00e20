"""Small catalogs whose archives are on the test server, and the miniature collection with its own catalog."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tests.support import miniature
from tests.support.media import noise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.miniature import Collection


class Shelf:
    """A catalog of a few small data sets whose archives are on the test server."""

    def __init__(self, server: HubServer, path: Path) -> None:
        """Start with an empty catalog."""
        self.server = server
        self.path = path
        self.document: dict[str, Any] = {
            "version": 1,
            "datasets": {},
            "phases": {"minimal": {"description": "all there is", "datasets": []}},
        }

    def file(self, name: str, files: Mapping[str, bytes], *, host: str = "files.example.org", **fields: Any) -> dict[str, Any]:
        """Serve files as one archive, and return its catalog entry."""
        return self.raw(name, miniature.gzip_bytes(miniature.pack_tar(files)), host=host, unpack="tar.gz", **fields)

    def raw(self, name: str, content: bytes, *, host: str = "files.example.org", **fields: Any) -> dict[str, Any]:
        """Serve bytes, and return their catalog entry."""
        self.server.add_static(f"https://{host}/{name}", content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"url": f"https://{host}/{name}", "size": len(content), "digest": digest, **fields}

    def add(self, dataset: str, *files: Mapping[str, Any], sources: list[dict[str, Any]] | None = None, **fields: Any) -> None:
        """Add a data set to the catalog and to its phase; ``fields`` replace the defaults."""
        commercial = fields.pop("commercial", "allowed")
        self.document["datasets"][dataset] = {
            "title": f"The {dataset} data set",
            "homepage": f"https://example.org/{dataset}",
            "priority": 3,
            "license": {
                "spdx": "CC-BY-4.0",
                "name": "CC BY 4.0",
                "url": "https://creativecommons.org/licenses/by/4.0/",
                "commercial": commercial,
                "evidence": "made for a test",
                "attribution": "",
            },
            "sources": sources if sources is not None else [{"kind": "url", "files": [dict(file) for file in files]}],
            **fields,
        }
        self.document["phases"]["minimal"]["datasets"].append(dataset)
        self.write()

    def write(self) -> None:
        """Write the catalog file again."""
        self.path.write_text(yaml.safe_dump(self.document, sort_keys=False), "utf-8")


def some_files(name: str, size: int = 5000) -> dict[str, bytes]:
    """Return a small tree: a text, and incompressible noise."""
    return {f"{name}/README": f"{name}\n".encode(), f"{name}/data/noise.bin": noise(name, size)}


@dataclass(frozen=True)
class Miniature:
    """The miniature collection with its catalog."""

    collection: Collection
    catalog: Path
