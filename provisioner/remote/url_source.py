"""Sources that are direct URLs: the catalog determines their artifacts, so nobody is asked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from provisioner.redaction import show_url
from provisioner.remote.resolved import Resolved

if TYPE_CHECKING:
    from provisioner.catalog.url_source import UrlSource


def resolve_url_source(source: UrlSource) -> Resolved:
    """Return the artifacts of a source; no request is made."""
    artifacts = source.artifacts
    pins = [str(artifact.digest) if artifact.digest else f"unverified:{artifact.name}" for artifact in artifacts]
    pin = pins[0] if len(pins) == 1 else f"sha256:{hashlib.sha256(' '.join(pins).encode()).hexdigest()}"
    return Resolved("url", show_url(artifacts[0].urls[0]), pin, artifacts)
