"""Receipts as files: one JSON document for each version of a data set that is on the volume."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.file_state import FileState
from provisioner.catalog.hub_source import repository_of
from provisioner.catalog.model import COMMERCIAL, EntryFacts, License
from provisioner.planning.model import Receipt
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.newer_records import is_newer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.catalog.hub_source import Repository
    from provisioner.catalog.parts import PartRule

RECEIPT_SCHEMA: Final = 1


def receipt_document(receipt: Receipt, program_version: str) -> dict[str, Any]:
    """Return the document that a receipt's file holds."""
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
        **({"repository": asdict(receipt.repository)} if receipt.repository else {}),
        **({"entry": _entry_document(receipt.entry)} if receipt.entry else {}),
        **({"recipe": receipt.recipe} if receipt.recipe else {}),
        **({"part": {"text": receipt.rule.text, **receipt.rule.identity}} if receipt.rule else {}),
        **({"origins": {key: asdict(state) for key, state in receipt.origins.items()}} if receipt.origins else {}),
    }


def write_receipt(path: Path, receipt: Receipt, program_version: str, *, durable: bool = True) -> None:
    """Replace ``path`` by a receipt.

    Raises:
        VolumeError: the volume failed.
    """
    write_json(path, receipt_document(receipt, program_version), durable=durable)


def read_receipt(path: Path, dataset: str, version: str) -> Receipt | None:
    """Return a receipt, or ``None`` if there is none, or it is damaged or belongs to another data set or version.

    Of a receipt that a newer version of the program wrote, the parts that can be understood are returned.
    """
    document = read_json(path)
    if document is None:
        return None
    if is_newer(document, RECEIPT_SCHEMA) and document.get("dataset", dataset) == dataset:
        return _newer_receipt(document, dataset, version)
    return parse_receipt(document, dataset, version)


def parse_receipt(document: Mapping[str, Any], dataset: str, version: str) -> Receipt | None:
    """Return the receipt in a document; ``None`` if it has another schema, or belongs to another data set or version."""
    if document.get("schema_version") != RECEIPT_SCHEMA:
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
            entry=_entry(document["entry"]) if "entry" in document else None,
            repository=_repository(document.get("repository")),
            recipe=_text(document.get("recipe", "")),
            rule=_rule(document["part"]) if "part" in document else None,
            origins=_origins(document.get("origins")),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    return receipt if (receipt.dataset, receipt.version) == (dataset, version) else None


def _newer_receipt(document: Mapping[str, Any], dataset: str, version: str) -> Receipt:
    def text(value: object) -> str:
        return value if isinstance(value, str) else ""

    def count(value: object) -> int:
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    source = document.get("source")
    source = source if isinstance(source, dict) else {}
    splits = document.get("splits")
    return Receipt(
        dataset=dataset,
        version=version,
        layout=text(document.get("layout")),
        splits=tuple(map(text, splits)) if isinstance(splits, list) else (),
        files=count(document.get("files")),
        size=count(document.get("bytes")),
        license=text(document.get("license")),
        source_kind=text(source.get("kind")),
        source_url=text(source.get("url")),
        pin=text(source.get("pin")),
        verified_against=text(document.get("verified_against")) or "none",
        published_at=text(document.get("published_at")),
        is_newer=True,
        recipe=text(document.get("recipe")),
    )


def _repository(document: object) -> Repository | None:
    """Return the repository that a receipt names, or ``None`` if it names none."""
    if not isinstance(document, dict):
        return None
    return repository_of(document.get("repo_type"), document.get("repo"), document.get("revision"))


def _rule(document: Mapping[str, Any]) -> PartRule:
    """Return the rule of a part.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: the rule is damaged.
    """
    from provisioner.catalog.parts import PartRule  # noqa: PLC0415 - few receipts have one

    where = _line(document.get("where", ""))
    return PartRule(
        include=tuple(_line(glob) for glob in _list(document.get("include", []))),
        exclude=tuple(_line(glob) for glob in _list(document.get("exclude", []))),
        where=_condition(where) if where else "",
        limit=_count(document["limit"]) if "limit" in document else None,
        bytes=_count(document["bytes"]) if "bytes" in document else None,
        seed=_count(document.get("seed", 0)),
        text=_line(document["text"]),
    )


def _condition(text: str) -> str:
    """Return a condition in its usual form.

    Raises:
        ValueError: the condition is damaged.
    """
    from provisioner.catalog.condition_parser import parse_condition  # noqa: PLC0415 - few receipts have one
    from provisioner.catalog.conditions import ConditionError  # noqa: PLC0415 - the same

    try:
        return str(parse_condition(text))
    except ConditionError as error:
        raise ValueError from error


def _origins(document: object) -> dict[str, FileState]:
    """Return the states of files in a receipt; values that cannot be understood are left out, since they prove nothing."""
    found = {}
    for key, state in document.items() if isinstance(document, dict) else ():
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
            size = None if state["size"] is None else _count(state["size"])
            found[_text(key)] = FileState(_line(state["url"]), _line(state["etag"]), _line(state["modified"]), size)
    return found


def _entry_document(entry: EntryFacts) -> dict[str, Any]:
    document = asdict(entry)
    if entry.taken is None:
        del document["taken"]
    return {**document, "notes": list(entry.notes), "parts": list(entry.parts)}


def _entry(document: Mapping[str, Any]) -> EntryFacts:
    """Return the catalog entry of a reference that a receipt records.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: the entry is damaged.
    """
    terms = document["license"]
    commercial = terms["commercial"]
    if commercial not in COMMERCIAL:
        raise ValueError
    return EntryFacts(
        reference=_line(document["reference"]),
        key=_line(document["key"]),
        title=_line(document["title"]),
        homepage=_line(document["homepage"]),
        license=License(
            spdx=_line(terms["spdx"]),
            name=_line(terms["name"]),
            url=_line(terms["url"]),
            commercial=commercial,
            evidence=_line(terms["evidence"]),
            attribution=_line(terms["attribution"]),
        ),
        description=_line(document["description"]),
        download=None if document["download"] is None else _count(document["download"]),
        notes=tuple(_line(note) for note in _list(document["notes"])),
        parts=tuple(_line(part) for part in _list(document.get("parts", []))),
        taken=None if document.get("taken") is None else _count(document["taken"]),
    )


def _line(value: object) -> str:
    """Return a text that is shown to people: one printable line."""
    text = _text(value)
    if not text.isprintable():
        raise ValueError
    return text


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
