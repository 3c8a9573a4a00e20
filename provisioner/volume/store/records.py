"""What is written on the volume besides the data: receipts, status, and the files for people and apps.

Whatever is read back may have been damaged or made by somebody else: a record that cannot be understood is no record.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import ConfigurationError
from provisioner.planning.plan import Receipt
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RECEIPT_SCHEMA: Final = 1
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAME_EVERYWHERE: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
"""Characters that a POSIX shell and Docker's ``--env-file`` both take as they are, without quotes."""


def write_json(path: Path, document: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write one document for programs and people.

    Raises:
        VolumeError: the volume failed.
    """
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a document; ``None`` when there is none, or nothing that can be understood."""
    try:
        document = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def receipt_document(receipt: Receipt, program_version: str) -> dict[str, Any]:
    """Return the form in which a receipt lies on the volume."""
    return {
        "schema_version": RECEIPT_SCHEMA,
        "provisioner_version": program_version,
        "dataset": receipt.dataset,
        "version": receipt.version,
        "layout": receipt.layout,
        "splits": list(receipt.splits),
        "files": receipt.files,
        "bytes": receipt.size,
        "license": receipt.license,
        "source": {"kind": receipt.source_kind, "url": receipt.source_url, "pin": receipt.pin},
        "verified_against": receipt.verified_against,
        "published_at": receipt.published_at,
        "artifacts": dict(receipt.content_ids),
    }


def read_receipt(path: Path, dataset: str, version: str) -> Receipt | None:
    """Return a receipt; ``None`` when there is none, or one that is not of this data set and version."""
    document = read_json(path)
    if document is None or document.get("schema_version") != RECEIPT_SCHEMA:
        return None
    try:
        receipt = Receipt(
            dataset=_text(document["dataset"]),
            version=_text(document["version"]),
            layout=_text(document["layout"]),
            splits=tuple(_text(split) for split in _list(document["splits"])),
            files=_count(document["files"]),
            size=_count(document["bytes"]),
            license=_text(document["license"]),
            source_kind=_text(document["source"]["kind"]),
            source_url=_text(document["source"]["url"]),
            pin=_text(document["source"]["pin"]),
            verified_against=_text(document["verified_against"]),
            published_at=_text(document["published_at"]),
            content_ids={_text(content_id): _text(key) for content_id, key in document["artifacts"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    return receipt if (receipt.dataset, receipt.version) == (dataset, version) else None


def environment_lines(values: Mapping[str, str]) -> bytes:
    """Return ``KEY=value`` lines that mean the same to ``set -a; . FILE`` in a POSIX shell and to Docker's ``--env-file``.

    Raises:
        ConfigurationError: a value cannot be written so that both agree.
    """
    for name, value in values.items():
        if not _NAME.fullmatch(name) or not _SAME_EVERYWHERE.fullmatch(value):
            raise ConfigurationError(
                f"provision.env: {name}={value!r} means one thing to a shell and another to Docker's --env-file",
                hint="Use a value (a volume path, a repository name) of letters, digits and _@%+=:,./- alone.",
            )
    return "".join(f"{name}={value}\n" for name, value in sorted(values.items())).encode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value
