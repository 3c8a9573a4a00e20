"""From the text of a catalog to its values; whatever is not well formed is refused with file, line and key.

Text in, :class:`Catalog` or :class:`ConfigurationError` out: nothing is read from a disk or a network, and whether a URL
or a repository really exists is another module's question. Which keys stand where is said in :mod:`.schema`; here is what
needs to see more than one value, and the hint for each way to be wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from provisioner.catalog import schema
from provisioner.catalog.document import nearest, parse_document, shown
from provisioner.catalog.model import (
    COMMERCIAL,
    DIGEST_LENGTHS,
    UNPACK_FORMATS,
    Catalog,
    Commercial,
    DataSet,
    Digest,
    Excluded,
    HubSource,
    License,
    Phase,
    Size,
    Source,
    UnpackFormat,
    UrlFile,
    UrlSource,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioner.catalog.document import Value

_CREDENTIALS: Final = frozenset(
    {"access_token", "api_key", "apikey", "auth", "password", "secret", "sig", "signature", "token"}
    | {"x-amz-credential", "x-amz-security-token", "x-amz-signature", "x-goog-credential", "x-goog-signature"}
)
"""Names of query parameters that carry a secret, in lower case."""
_MAX_NAME: Final = 255
"""Bytes that a file system allows for one name."""


def parse_catalog(text: str, file: str) -> Catalog:
    """Read a catalog.

    Args:
        text: the YAML document.
        file: its name, for messages.

    Raises:
        ConfigurationError: it is not a catalog; the message begins with ``file:line: key:``.
    """
    root = parse_document(text, file)
    entries = root.mapping()
    if "version" in entries and entries["version"].integer() != schema.VERSION:
        # First, because in another version everything else may look wrong too.
        entries["version"].fail(
            f"version {entries['version'].data} of the format is not known", f"This program reads version {schema.VERSION}."
        )
    entries = root.mapping(schema.CATALOG.names, schema.CATALOG.required)
    datasets = {name: _dataset(name, value) for name, value in _named(entries["datasets"], "data set").items()}
    excluded: dict[str, Excluded] = {}
    if "excluded" in entries:
        for name, value in _named(entries["excluded"], "data set", empty=True).items():
            if name in datasets:
                line = entries["datasets"].mapping()[name].line
                value.fail(f"{name!r} is listed as a data set too, on line {line}", "Keep one of the two.")
            excluded[name] = _excluded(name, value)
    phases = _phases(entries["phases"], datasets, excluded)
    return Catalog(datasets=datasets, phases=phases, excluded=excluded)


def _named(value: Value, what: str, *, empty: bool = False) -> Mapping[str, Value]:
    """Return the entries of a mapping whose keys are ids."""
    entries = value.mapping()
    if not entries and not empty:
        value.fail(f"there is no {what} here", f"Name one {what} at least.")
    for name, entry in entries.items():
        if not re.fullmatch(schema.ID, name):
            entry.fail(f"{shown(name)} cannot be the name of a {what}", _id_hint(name))
    return entries


def _id_hint(name: str) -> str:
    """Return what a name may be made of, with the nearest that could be one."""
    rule = "Use a-z, 0-9, '_' and '-', beginning with a letter or a digit, 64 characters at most."
    better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64]
    return f"{rule} For example {better!r}." if better else rule


# --- data sets ---------------------------------------------------------------------------------------------------------


def _dataset(name: str, value: Value) -> DataSet:
    keys = value.mapping(schema.DATA_SET.names, schema.DATA_SET.required)
    layout = _layout(keys)
    sources = tuple(_source(item) for item in _filled(keys["sources"], "source"))
    delivered = sorted({source.layout for source in sources})
    if layout not in delivered:
        keys["sources"].fail(
            f"no source delivers the data set's own layout {layout!r}",
            f"Add a source with 'layout: {layout}', or make 'layout' of the data set one of: {', '.join(delivered)}.",
        )
    return DataSet(
        id=name,
        title=_line(keys["title"]),
        homepage=_page(keys["homepage"]),
        description=_optional_line(keys, "description"),
        purpose=_optional_line(keys, "purpose"),
        priority=keys["priority"].integer(schema.MIN_PRIORITY, schema.MAX_PRIORITY),
        license=_license(keys["license"]),
        sources=sources,
        unpacked_size=_optional_size(keys, "unpacked_size"),
        optional=keys["optional"].boolean() if "optional" in keys else False,
        layout=layout,
        notes=tuple(_line(item) for item in keys["notes"].items()) if "notes" in keys else (),
    )


def _license(value: Value) -> License:
    keys = value.mapping(schema.LICENSE.names, schema.LICENSE.required)
    return License(
        spdx=_word(keys["spdx"], schema.SPDX, "an SPDX identifier", "See spdx.org/licenses; LicenseRef-Name for any other."),
        name=_line(keys["name"]),
        url=_page(keys["url"]),
        commercial=cast("Commercial", keys["commercial"].choice(COMMERCIAL)),
        evidence=_line(keys["evidence"]),
        attribution=_line(keys["attribution"], empty=True),
    )


def _excluded(name: str, value: Value) -> Excluded:
    keys = value.mapping(schema.EXCLUDED.names, schema.EXCLUDED.required)
    return Excluded(id=name, title=_line(keys["title"]), license=_line(keys["license"]), reason=_line(keys["reason"]))


# --- sources -----------------------------------------------------------------------------------------------------------


def _source(value: Value) -> Source:
    keys = value.mapping(required=("kind",))
    table, other = schema.HUB_SOURCE, schema.URL_SOURCE
    if keys["kind"].choice(schema.SOURCE_KINDS) == "url":
        table, other = other, table
    for key, entry in keys.items():
        if key not in table.names and key in other.names:
            entry.fail(f"the key {key!r} does not belong to a source of this kind", f"Here stand: {', '.join(table.names)}.")
    keys = value.mapping(table.names, table.required)
    return _hub_source(keys) if table is schema.HUB_SOURCE else _url_source(keys)


def _hub_source(keys: Mapping[str, Value]) -> HubSource:
    unpack = keys["unpack"].mapping() if "unpack" in keys else {}
    splits = keys["splits"].mapping() if "splits" in keys else {}
    digests = keys["digests"].mapping() if "digests" in keys else {}
    for pattern, entry in (*unpack.items(), *splits.items()):
        _check_glob(entry, pattern)
    for path, entry in digests.items():
        _check_relative(entry, path)
    return HubSource(
        repo=_repo(keys["repo"]),
        revision=_revision(keys["revision"]) if "revision" in keys else "main",
        include=_globs(_filled(keys["include"], "glob")) if "include" in keys else (),
        exclude=_globs(keys["exclude"].items()) if "exclude" in keys else (),
        unpack=tuple((pattern, _format(entry)) for pattern, entry in unpack.items()),
        layout=_layout(keys),
        splits=tuple((pattern, _split(entry)) for pattern, entry in splits.items()),
        digests=tuple((path, _stated_digest(entry)) for path, entry in digests.items()),
        size=_optional_size(keys, "size"),
    )


def _url_source(keys: Mapping[str, Value]) -> UrlSource:
    places = _filled(keys["files"], "file")
    files = tuple(_url_file(item) for item in places)
    _no_collisions(places, files)
    return UrlSource(files=files, layout=_layout(keys))


def _url_file(value: Value) -> UrlFile:
    keys = value.mapping(schema.URL_FILE.names)
    if "url" in keys and "digest" not in keys:
        value.fail(
            "the key 'digest' is missing",
            "Add 'digest: sha256:…'; 'digest: none' where nobody states one: the file is then shown as unverified.",
        )
    value.mapping(required=schema.URL_FILE.required)
    unpack = _format(keys["unpack"]) if "unpack" in keys else "none"
    if unpack == "none" and "unpacked_size" in keys:
        keys["unpacked_size"].fail("the file is not unpacked", "Say how with 'unpack', or write 'size' instead.")
    return UrlFile(
        url=_url(keys["url"]),
        mirrors=tuple(_url(item) for item in keys["mirrors"].items()) if "mirrors" in keys else (),
        size=_optional_size(keys, "size"),
        digest=_digest(keys["digest"]),
        unpack=unpack,
        into=_into(keys["into"]) if "into" in keys else "",
        split=_split(keys["split"]) if "split" in keys else None,
        unpacked_size=_optional_size(keys, "unpacked_size"),
    )


def _no_collisions(places: Collection[Value], files: Collection[UrlFile]) -> None:
    """Refuse two files that would land on one path, and a file where another one needs a directory.

    Compared without case: a volume may sit on a file system that knows none.
    """
    taken: dict[str, int] = {}
    urls: dict[tuple[str, str], int] = {}
    for place, file in zip(places, files, strict=True):
        address = (file.url, file.into.casefold())
        if address in urls:
            place.fail(f"the URL of line {urls[address]} stands here again, with the same 'into'", "Remove one of the two.")
        urls[address] = place.line
        path = _landing(file)
        if path is None:
            continue
        if path in taken:
            place.fail(
                f"lands on the same path as the file of line {taken[path]}: {shown(path)}", "Give one of them another 'into'."
            )
        taken[path] = place.line
    for place, file in zip(places, files, strict=True):
        parts = file.into.casefold().split("/")
        for depth in range(1, len(parts) + 1):
            if (directory := "/".join(parts[:depth])) in taken:
                place.mapping()["into"].fail(
                    f"needs a folder where the file of line {taken[directory]} lands: {shown(directory)}",
                    "Choose another folder.",
                )


def _landing(file: UrlFile) -> str | None:
    """Return the path of a file that is not unpacked, without case; ``None`` for an archive."""
    if file.unpack != "none":
        return None
    return f"{file.into}/{file.name}".lstrip("/").casefold()


# --- phases ------------------------------------------------------------------------------------------------------------


def _phases(value: Value, datasets: Mapping[str, DataSet], excluded: Mapping[str, Excluded]) -> dict[str, Phase]:
    entries = _named(value, "phase")
    if schema.RESERVED_PHASE in entries:
        entries[schema.RESERVED_PHASE].fail(
            f"a phase cannot be called {schema.RESERVED_PHASE!r}", "PHASE=auto means the largest phase that fits."
        )
    own: dict[str, tuple[str, ...]] = {}
    base: dict[str, str | None] = {}
    for name, entry in entries.items():
        keys = entry.mapping(schema.PHASE.names, schema.PHASE.required)
        own[name] = _members(keys["datasets"], datasets, excluded)
        base[name] = None
        if "extends" in keys:
            base[name] = wanted = keys["extends"].text()
            if wanted not in entries:
                keys["extends"].fail(f"there is no phase {shown(wanted)}", nearest(wanted, entries))
    phases: dict[str, Phase] = {}
    for name, entry in entries.items():
        chain = [name]
        while (extended := base[chain[-1]]) is not None:
            chain.append(extended)
            if extended in chain[:-1]:
                loop = " → ".join(chain[chain.index(extended) :])
                # The complaint belongs to a phase of the circle, not to one that merely leads into it.
                entries[extended].mapping()["extends"].fail(f"the phases extend one another in a circle: {loop}")
        ids = tuple(dict.fromkeys(one for link in reversed(chain) for one in own[link]))
        if not ids:
            entry.fail("the phase has no data set", nearest("", datasets))
        keys = entry.mapping()
        phases[name] = Phase(
            name=name, description=_optional_line(keys, "description"), datasets=ids, extends=base[name], own=own[name]
        )
    return phases


def _members(value: Value, datasets: Mapping[str, DataSet], excluded: Mapping[str, Excluded]) -> tuple[str, ...]:
    names: dict[str, int] = {}
    for item in value.items():
        name = item.text()
        if name in excluded:
            item.fail(f"{name!r} is excluded: {excluded[name].reason}", "Take it out of the phase.")
        if name not in datasets:
            item.fail(f"there is no data set {shown(name)}", nearest(name, datasets))
        if name in names:
            item.fail(f"{name!r} stands in this phase a second time", f"The first is on line {names[name]}.")
        names[name] = item.line
    return tuple(names)


# --- single values -----------------------------------------------------------------------------------------------------


def _line(value: Value, *, empty: bool = False) -> str:
    """Return text as one line: however it was folded, it must not break a table or a terminal."""
    text = " ".join(value.text().split())
    if not text and not empty:
        value.fail("is empty")
    if not text.isprintable():
        value.fail("holds a character that cannot be printed", "Write plain text.")
    return text


def _optional_line(keys: Mapping[str, Value], key: str) -> str:
    return _line(keys[key], empty=True) if key in keys else ""


def _filled(value: Value, what: str) -> tuple[Value, ...]:
    items = tuple(value.items())
    if not items:
        value.fail(f"there is no {what} here", f"Name one {what} at least, or leave the key out where it may be.")
    return items


def _word(value: Value, pattern: str, what: str, hint: str) -> str:
    text = value.text()
    if not re.fullmatch(pattern, text):
        value.fail(f"{shown(text)} is not {what}", hint)
    return text


def _layout(keys: Mapping[str, Value]) -> str:
    return _word(keys["layout"], schema.ID, "the name of a layout", "For example raw or parquet.") if "layout" in keys else "raw"


def _split(value: Value) -> str:
    return _word(
        value, schema.SPLIT, "the name of a split", "Use letters, digits, '.', '_' and '-', for example train-clean-100."
    )


def _format(value: Value) -> UnpackFormat:
    return cast("UnpackFormat", value.choice(UNPACK_FORMATS))


def _optional_size(keys: Mapping[str, Value], key: str) -> Size | None:
    return _size(keys[key]) if key in keys else None


def _size(value: Value) -> Size:
    if isinstance(value.data, dict):
        keys = value.mapping(schema.SIZE.names, schema.SIZE.required)
        estimate = keys["estimate"].boolean() if "estimate" in keys else False
        return Size(_bytes(keys["value"]), estimate=estimate)
    return Size(_bytes(value))


def _bytes(value: Value) -> int:
    if isinstance(value.data, bool) or not isinstance(value.data, int):
        found = shown(value.data) if isinstance(value.data, str) else value.kind
        value.fail(
            f"expected a number of bytes, found {found}",
            "Write whole bytes, such as 2748572632, or {value: 3860000000, estimate: true}; no key where nobody knows.",
        )
    return value.integer(0, schema.MAX_SIZE)


def _digest(value: Value) -> Digest | None:
    """Read ``algorithm:hex``; ``none`` says that nobody states one."""
    text = value.text()
    if text == "none":
        return None
    algorithm, colon, digits = text.partition(":")
    if not colon:
        fits = [name for name, length in DIGEST_LENGTHS.items() if length == len(text)]
        better = f"{fits[0]}:{text[:8]}…" if fits else "sha256:be1a…"
        value.fail(f"{shown(text)} is not a digest", f"Write algorithm:digits, such as {better}, or none.")
    if algorithm not in DIGEST_LENGTHS:
        value.fail(f"{shown(algorithm)} is not a digest algorithm", nearest(algorithm, DIGEST_LENGTHS))
    if wrong := re.search(r"[^0-9a-fA-F]", digits):
        value.fail(f"a digest has hexadecimal digits only, found {wrong.group()!r}", "Copy it again.")
    if len(digits) != DIGEST_LENGTHS[algorithm]:
        fits = [name for name, length in DIGEST_LENGTHS.items() if length == len(digits)]
        hint = (
            f"{len(digits)} digits are a {fits[0]}." if fits else "Copy it again: part of it is missing, or too much was taken."
        )
        value.fail(f"a {algorithm} has {DIGEST_LENGTHS[algorithm]} digits, found {len(digits)}", hint)
    return Digest(algorithm, digits.lower())


def _stated_digest(value: Value) -> Digest:
    digest = _digest(value)
    if digest is None:
        value.fail("'none' says nothing here", "Remove the line.")
    return digest


def _globs(values: Collection[Value]) -> tuple[str, ...]:
    for value in values:
        _check_glob(value, value.text())
    return tuple(value.text() for value in values)


def _check_glob(place: Value, pattern: str) -> None:
    if not re.fullmatch(schema.GLOB, pattern):
        place.fail(
            f"{shown(pattern)} is not a glob for paths in the repository",
            "Write a relative pattern with '/', such as data/*.parquet, without '..' and backslashes.",
        )
    if re.search(r"\[(?![^\]]+\])", pattern):
        place.fail(f"{shown(pattern)} is not a glob: a '[' is not closed", "Write [[] for the character itself.")


def _check_relative(place: Value, path: str) -> None:
    if not re.fullmatch(schema.RELATIVE, path):
        better = "/".join(part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."})
        usable = better and better.isprintable()
        place.fail(
            f"{shown(path)} is not a relative path inside the data set",
            f"Write {shown(better)}." if usable else "Write a path such as audio/train.",
        )


def _into(value: Value) -> str:
    path = value.text()
    if path:
        _check_relative(value, path)
    return path


def _repo(value: Value) -> str:
    repo = value.text()
    if not re.fullmatch(schema.REPO, repo):
        found = re.search(r"(?:datasets/)?([\w.-]+/[\w.-]+)/*$", repo)
        value.fail(
            f"{_shown_url(repo)} is not the name of a repository",
            f"Write owner/name, such as {found.group(1) if found else 'keithito/lj_speech'}, without an address before it.",
        )
    return repo


def _revision(value: Value) -> str:
    return _word(value, schema.REVISION, "a revision", "Write a branch, a tag or a commit, such as main.")


def _page(value: Value) -> str:
    """Return the address of a page for people."""
    text = value.text()
    _check_no_credentials(value, _split_url(value, text))
    if not re.fullmatch(schema.PAGE, text):
        value.fail(f"{shown(text)} is not the address of a page", "Write it in full, such as https://example.org/page.")
    return text


def _url(value: Value) -> str:
    """Return the address of a file whose name can be used as it is."""
    text = value.text()
    scheme, colon, _ = text.partition(":")
    if not colon:
        value.fail(f"{shown(text)} is not a URL", f"Begin with one of: {', '.join(schema.URL_SCHEMES)}.")
    if scheme not in schema.URL_SCHEMES:
        known = ", ".join(schema.URL_SCHEMES)
        value.fail(f"the scheme {shown(scheme)} is not one of {known}", nearest(scheme, schema.URL_SCHEMES))
    if any(not "!" <= character <= "~" or character == "\\" for character in text):
        value.fail("the URL has a space, a backslash or a character that is not ASCII", "Write it percent-encoded, such as %20.")
    parts = _split_url(value, text)
    _check_no_credentials(value, parts)
    if "#" in text:
        value.fail("the URL has a '#' part, which is never sent", "Remove it, or write %23 where it belongs to the name.")
    if scheme == "file" and (parts.netloc or parts.query):
        value.fail("a file URL has neither a host nor a '?' part", "Write file:///path/to/file.")
    if scheme != "file" and not parts.hostname:
        value.fail(f"{shown(text)} names no host", f"Write {scheme}://host/path.")
    _check_file_name(value, unquote(parts.path))
    if not re.fullmatch(schema.URL, text):
        value.fail(f"{shown(text)} is not the URL of a file", "Write it in full, such as https://example.org/data.zip.")
    return text


def _split_url(value: Value, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        value.fail(f"{_shown_url(text)} is not a URL", "Look at the host and the port.")
    return parts


def _check_no_credentials(value: Value, parts: SplitResult) -> None:
    """Refuse secrets: a URL is repeated in logs, status files and documents."""
    found = ["a user or password before the '@'"] if "@" in parts.netloc else []
    found += [
        f"the parameter {name!r}" for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name.lower() in _CREDENTIALS
    ]
    for what in found:
        value.fail(f"the URL carries credentials: {what}", "A catalog is no place for secrets: serve the file without them.")


def _shown_url(text: str) -> str:
    """Return a wrong URL for a message, without what may be a password."""
    return shown(re.sub(r"//.*@", "//…@", text))


def _check_file_name(value: Value, path: str) -> None:
    """Refuse a path whose last part cannot be the name of a file in the data set."""
    parts = path.split("/")
    name = parts[-1]
    if not name:
        value.fail("the URL names a folder, not a file", "Remove the '/' at the end, or name the file.")
    if "\\" in name or not name.isprintable() or "\ufffd" in name:
        value.fail(f"the file's name has an unsafe character: {shown(name)}", "Rename the file.")
    if "." in parts or ".." in parts:
        value.fail("the URL's path has a '.' or '..' part", "Write the path that it stands for.")
    if len(name.encode()) > _MAX_NAME:
        value.fail(f"the file's name has more than {_MAX_NAME} bytes: {shown(name)}", "Rename the file.")
