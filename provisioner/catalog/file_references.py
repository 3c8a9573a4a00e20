"""References that name one file by its URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from provisioner.catalog import fields, paths, urls
from provisioner.catalog.digest import DIGEST_LENGTHS
from provisioner.catalog.document import quoted
from provisioner.catalog.file_names import is_named_by, name_in_url
from provisioner.catalog.url_source import UrlFile, UrlSource
from provisioner.catalog.written_parts import parse_options
from provisioner.catalog.written_reference import NAME_PATTERN, Reference, stated_name
from provisioner.redaction import redact_urls, show_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.catalog.written_reference import WrittenReference

ARCHIVE_ENDINGS: Final[Mapping[str, UnpackFormat]] = {
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.bz2": "tar.bz2",
    ".tbz2": "tar.bz2",
    ".tbz": "tar.bz2",
    ".tar.xz": "tar.xz",
    ".txz": "tar.xz",
    ".tar.zst": "tar.zst",
    ".tzst": "tar.zst",
    ".tar": "tar",
    ".zip": "zip",
}
"""The format as which a file with such an ending is unpacked."""


def parse_file(part: WrittenReference, url: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return the reference for the URL of a file."""
    given = stated_name(part, options)
    urls.file_url(part.of(url), is_named=bool(given), may_be_signed=True)
    is_named = is_named_by(url)
    file_name = name_in_url(url)
    name = given or _stem(file_name)
    if not given and not (is_named and re.fullmatch(NAME_PATTERN, name)):
        part.fail(f"the URL does not name a file: {quoted(file_name)}", "Give it a name, such as #name=speech.")
    digests = [f"{key}:{options[key][0]}" for key in DIGEST_LENGTHS if key in options]
    if len(digests) > 1:
        part.fail("it has two digests", "Keep the best of them: sha256.")
    digest = fields.stated_digest(part.of(digests[0])) if digests else None
    unpack = fields.unpack_format(part.of(options["unpack"][0])) if "unpack" in options else _format_of(file_name)
    into = paths.directory(part.of(options["into"][0])) if "into" in options else ""
    more = [f"{digest.algorithm}={digest.hex}"] if digest else []
    more += [f"unpack={unpack}"] if unpack != _format_of(file_name) else []
    more += [f"into={quote(into)}"] if into else []
    rule, rule_options = parse_options(options, part)
    more += [*rule_options, *([f"name={name}"] if given else [])]
    shown = show_url(url)
    return Reference(
        text=f"{shown}#{'&'.join(more)}" if more else shown,
        key=f"{shown}{_query_mark(url)}{f'#name={name}' if given else ''}",
        names=(name,),
        source=UrlSource((UrlFile(url, digest=digest, unpack=unpack, into=into),)),
        homepage=shown,
        is_proven=digest is not None,
        rule=rule,
    )


def _query_mark(url: str) -> str:
    """Return a mark that distinguishes URLs that differ only in their queries; it reveals nothing of a signature."""
    query = urlsplit(url).query
    if not query:
        return ""
    import hashlib  # noqa: PLC0415 - few URLs have a query

    return f"?{hashlib.sha256(redact_urls(f'?{query}').encode()).hexdigest()[:8]}"


def _format_of(file_name: str) -> UnpackFormat:
    """Return how a file is unpacked, by the ending of its name."""
    lower = file_name.lower()
    return next((unpack for ending, unpack in ARCHIVE_ENDINGS.items() if lower.endswith(ending)), "none")


def _stem(file_name: str) -> str:
    """Return a file's name without its ending, as the name of a directory."""
    lower = file_name.lower()
    ending = next((ending for ending in ARCHIVE_ENDINGS if lower.endswith(ending)), "")
    stem = file_name[: -len(ending)] if ending else re.sub(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,9}$", "", file_name)
    return re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "_", stem).strip(".")[:96]
