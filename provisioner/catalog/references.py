"""References: one line that names a repository or a file, in place of a catalog entry. Parsing asks nobody.

``hf://datasets/OWNER/NAME[@REVISION][/GLOB]``, ``hf://OWNER/NAME…`` and ``hf://buckets/OWNER/NAME[/GLOB]`` have the syntax of the
Hub client's file system; a Hub's web addresses mean the same. ``:PART`` in place of a repository's glob is a part that its card
describes. ``https:`` and ``file:`` name one file. Behind ``#`` stand options, as in a query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import quote, unquote, urlsplit

from provisioner.catalog import bucket_source, fields, hub_source, paths, urls
from provisioner.catalog.card_parts import PART
from provisioner.catalog.digest import DIGEST_LENGTHS
from provisioner.catalog.document import Value, nearest, quoted
from provisioner.catalog.file_names import is_named_by, name_in_url
from provisioner.catalog.hub_source import PUBLIC_HUBS
from provisioner.catalog.keys import URL_SCHEMES
from provisioner.catalog.reference_hints import OTHER_SCHEMES, meant_option, with_slashes
from provisioner.catalog.url_source import UrlFile, UrlSource
from provisioner.errors import ConfigurationError
from provisioner.redaction import redact_urls, show_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.catalog.hub_source import HubSource, RepoType
    from provisioner.catalog.source import Source

NAME_PATTERN: Final = r"(?!.*\.\.)(?!.*\.(?:/|$))[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}){0,2}"
"""Where a reference may be published below ``datasets/``."""
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
"""How a file is unpacked whose name ends so."""

MAX_LENGTH: Final = 8192
"""Characters of a reference; a signed URL has two thousand."""

_QUERY: Final = re.compile(r"\?[^#]*")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/|(hf|https?|file):(?=.*[/\\])", re.IGNORECASE)
"""Of what is meant as a reference: also where ``//`` is missing, but not of an id with its split."""
_OPEN_HOST: Final = re.compile(r"(?:hf|https?)://[\w.-]*\.[\w.-]+(?::\d+)?/|hf://", re.IGNORECASE)
"""How an address begins that has no user before its host: an ``@`` behind that is part of the path."""
_SCHEMES: Final = ("hf", *URL_SCHEMES)
_SPECIAL_REVISION: Final = re.compile(r"(refs/(?:convert/[\w-]+|pr/\d+))(?=[/:]|$)")
"""Revisions with a ``/`` that the Hub's client recognises in a path."""
_PLAIN_IN_OPTION: Final = "*/[]!?@:"
_HUB_OPTIONS: Final = ("exclude", "include", "name")
_FILE_OPTIONS: Final = (*DIGEST_LENGTHS, "into", "name", "unpack")
_NO_DATA: Final[Mapping[str, str]] = {
    "spaces": "a Space is a program, and not data",
    "kernels": "kernels are programs, and not data",
}
_TYPES: Final = frozenset({"datasets", "models"})
_NO_OWNERS: Final = frozenset(
    {"blog", "chat", "collections", "docs", "enterprise", "join", "learn", "login", "models", "new", "notifications"}
    | {"organizations", "papers", "posts", "pricing", "search", "settings", "support", "tasks"}
)
"""First parts of the paths of a Hub's other pages."""
_FILE_PAGES: Final = frozenset({"blob", "resolve", "raw", "blame", "edit"})
_REVISION_PAGES: Final = frozenset({"tree", "commit", "commits"})
_OTHER_PAGES: Final = frozenset({"activity", "discussions", "embed", "settings", "viewer"})
_HUB_EXAMPLE: Final = (
    "Write hf://datasets/OWNER/NAME for data, hf://OWNER/NAME for a model, hf://buckets/OWNER/NAME for a bucket."
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What one line names, as a source of a catalog entry."""

    text: str
    """The reference in its usual form, without secrets: what people see. The same text means the same recipe."""
    key: str
    """What it names, whatever the revision, the files of a repository and the digest are."""
    names: tuple[str, ...]
    """Where it may be published below ``datasets/``, the preferred place first."""
    source: Source
    homepage: str
    """Where a person looks at it; empty: on the Hub, whose address is not known here."""
    is_model: bool = False
    is_proven: bool = False
    """Its bytes are known by a digest."""
    parts: tuple[str, ...] = ()
    """Names of the parts of a repository; empty: all of it."""


def is_reference(text: str) -> bool:
    """Return whether a text is meant as a reference, and not as an id; it may be malformed."""
    return _SCHEME.match(text) is not None


def parse_reference(text: str, endpoint: str = PUBLIC_HUBS[0]) -> Reference:
    """Return what a reference means.

    Args:
        text: as a user wrote it.
        endpoint: the Hub's address (``HF_ENDPOINT``): its web addresses are understood, beside those of the public Hub.

    Raises:
        ConfigurationError: it is malformed; neither message nor hint repeats a secret.
    """
    # What follows a '?' of a URL may be a secret; of a repository it is a glob.
    shown = _QUERY.sub("", text) if text.lower().startswith(("http:", "https:")) else text
    in_quotes = quoted if _OPEN_HOST.match(shown) else urls.quoted_url
    part = _Part(text, in_quotes(redact_urls(shown)), 0, "")
    scheme = _SCHEME.match(text)
    if scheme is None:
        part.fail("is not a reference", f"Begin with one of: {', '.join(f'{name}://' for name in _SCHEMES)}.")
    if strange := next((character for character in text if not character.isprintable()), None):
        part.fail(f"it has the character U+{ord(strange):04X}, which cannot be printed", "Remove it; in a URL write it as %0A.")
    if len(text) > MAX_LENGTH:
        part.fail(f"it has {len(text)} characters", f"Write at most {MAX_LENGTH}.")
    name = (scheme[1] or scheme[2]).lower()
    if name not in _SCHEMES:
        near = OTHER_SCHEMES.get(name) or nearest(name, _SCHEMES)
        part.fail(f"the scheme {quoted(name)} is not one of {', '.join(_SCHEMES)}", near)
    body, _, fragment = text[len(name) :].partition("#")
    if not body.startswith("://"):
        part.fail(f"{name}: is not followed by //", with_slashes(name))
    if name == "hf":
        return _parse_hub(part, body[3:], _options(part, fragment, _HUB_OPTIONS))
    if (path := _path_on_hub(name + body, endpoint)) is not None:
        # An address bar also shows where in the page one is.
        return _parse_page(part, path, _options(part, fragment if "=" in fragment else "", _HUB_OPTIONS))
    return _parse_file(part, name + body, _options(part, fragment, _FILE_OPTIONS))


@dataclass(frozen=True, slots=True)
class _Part(Value):
    """A reference, or a value in it: its mistakes name the reference in place of a line of a file."""

    def of(self, data: object) -> _Part:
        """Return another value of the same reference."""
        return _Part(data, self.file, 0, "")

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        """Raise an error about this reference.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{self.file}: {problem}", hint=hint)


def _options(part: _Part, fragment: str, known: Sequence[str]) -> dict[str, list[str]]:
    """Return the options behind ``#``, each with its values."""
    found: dict[str, list[str]] = {}
    for item in filter(None, fragment.split("&")):
        key, equals, value = item.partition("=")
        if not equals:
            part.fail(f"{quoted(item)} behind the '#' is no option", meant_option(item, known))
        if key in {*_HUB_OPTIONS, *_FILE_OPTIONS} - {*known}:
            what = (
                "files; of a repository the Hub's listing says it" if key in _FILE_OPTIONS else "repositories, not for one file"
            )
            part.fail(f"the option {key!r} is for {what}", f"Options here: {', '.join(known)}.")
        if key not in known:
            part.fail(f"there is no option {quoted(key)}", nearest(key, known))
        if key in found and key not in {"include", "exclude"}:
            part.fail(f"the option {key!r} stands there twice", "Keep one of them.")
        text = unquote(value)
        if not text.isprintable():
            part.fail(f"the option {key!r} has a character that cannot be printed", "Write plain text.")
        found.setdefault(key, []).append(text)
    return found


def _name(part: _Part, options: Mapping[str, Sequence[str]]) -> str:
    """Return the name that the user gives; empty: none."""
    name = options["name"][0] if "name" in options else ""
    if "name" in options and not re.fullmatch(NAME_PATTERN, name):
        part.fail(
            f"{quoted(name)} cannot be the name of a directory below datasets/",
            "Use letters, digits, '.', '_' and '-', and '/' between two parts, such as name=speech or name=acme/speech.",
        )
    return name


# --- repositories ------------------------------------------------------------------------------------------------------


def _parse_hub(part: _Part, body: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return what follows ``hf://``."""
    first, _, rest = body.partition("/")
    if first in _NO_DATA:
        part.fail(_NO_DATA[first], _HUB_EXAMPLE)
    if first in {"dataset", "model"} or (first not in _TYPES and first.lower() in _TYPES):
        part.fail(f"{first!r} is the owner of no repository", _HUB_EXAMPLE)
    if first == "buckets":
        return _parse_bucket(part, rest, options)
    repo_type: RepoType = "dataset" if first == "datasets" else "model"
    if first in _TYPES:
        body = rest
    owner, slash, rest = body.partition("/")
    if f"https://{owner}" in PUBLIC_HUBS:
        part.fail("hf:// is not followed by a host", "Write hf://datasets/OWNER/NAME; HF_ENDPOINT says on which Hub.")
    name, tail = _split(rest, "/@:")
    if "?" in name:
        part.fail("a repository has no '?' part", "Options stand behind '#', such as hf://OWNER/NAME#exclude=*.bin.")
    if not owner or "@" in owner or not slash or not name:
        part.fail("it names no repository: there must be an owner and a name", _HUB_EXAMPLE)
    revision = "main"
    if tail.startswith("@"):
        revision, tail = _split_revision(part, tail[1:])
    parts = tail[1:] if tail.startswith(":") else None
    glob = "" if parts is not None else tail[1:]
    return _hub_reference(part, repo_type, f"{owner}/{name}", revision=revision, glob=glob, parts=parts, options=options)


def _split(text: str, ends: str) -> tuple[str, str]:
    """Return what is before the first of some characters, and the rest with that character."""
    end = next((at for at, character in enumerate(text) if character in ends), len(text))
    return text[:end], text[end:]


def _split_revision(part: _Part, text: str) -> tuple[str, str]:
    """Return the revision that follows ``@``, and what follows it."""
    if special := _SPECIAL_REVISION.match(text):
        return special[1], text[special.end() :]
    revision, tail = _split(text, "/:")
    if not revision:
        part.fail("there is no revision behind the '@'", "Write a branch, a tag or a commit, or leave the '@' out.")
    return unquote(revision), tail


def _parts(part: _Part, repo_type: RepoType, repo: str, written: str) -> tuple[str, ...]:
    """Return the names of the parts that follow ``:``."""
    if repo_type == "model":
        part.fail("a model repository has no parts", f"Choose files by a glob, such as hf://{repo}/*.safetensors.")
    if not written:
        part.fail("there is no part behind the ':'", "Write the name of a configuration or split, or leave the ':' out.")
    if "@" in written:
        part.fail("the revision comes before the part", f"Write hf://datasets/{repo}@REVISION:PART.")
    found: dict[str, None] = {}
    for raw in written.split("+"):
        one = unquote(raw)
        if not re.fullmatch(PART, one) or not one.isprintable() or not set("[]*?:").isdisjoint(raw):
            part.fail(
                f"{quoted(one)} is not the name of a part",
                "Write CONFIG, SPLIT or CONFIG/SPLIT, several joined by '+', such as :train+test; files are chosen by '/GLOB'.",
            )
        found[one] = None
    return tuple(found)


def _hub_reference(
    part: _Part,
    repo_type: RepoType,
    repo: str,
    *,
    revision: str,
    glob: str,
    parts: str | None,
    options: Mapping[str, Sequence[str]],
) -> Reference:
    """Return what a repository's name with its revision, its glob or parts, and the options means."""
    chosen = () if parts is None else _parts(part, repo_type, repo, parts)
    name = _name(part, options)
    globs = [*([glob] if glob else []), *options.get("include", ())]
    exclude = options.get("exclude", ())
    values: dict[str, Value] = {"repo": part.of(repo), "revision": part.of(revision), "repo_type": part.of(repo_type)}
    values |= {"parts": part.of([part.of(one) for one in chosen])} if chosen else {}
    source: HubSource = hub_source.parse_keys(values | _globs(part, globs, exclude))
    base = f"hf://{'datasets/' if repo_type == 'dataset' else ''}{repo}"
    written = revision if _SPECIAL_REVISION.fullmatch(revision) else quote(revision, safe="")
    at_parts = f":{'+'.join(quote(one, safe='/') for one in chosen)}" if chosen else ""
    return Reference(
        text=_usual_form(f"{base}{f'@{written}' if revision != 'main' else ''}{at_parts}", glob, globs, exclude, name),
        key=f"{base}#name={name}" if name else base,
        names=(name,) if name else (repo, f"{repo_type}s/{repo}"),
        source=source,
        homepage="",
        is_model=repo_type == "model",
        parts=chosen,
    )


def _parse_bucket(part: _Part, body: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return what follows ``hf://buckets/``."""
    owner, _, rest = body.partition("/")
    bucket, _, glob = rest.partition("/")
    if not owner or not bucket:
        part.fail("it names no bucket: there must be an owner and a name", "Write hf://buckets/OWNER/NAME.")
    if "@" in owner + bucket:
        part.fail("a bucket has no revisions, so there is no '@'", f"Write hf://buckets/{owner}/{bucket.partition('@')[0]}.")
    return _bucket_reference(part, f"{owner}/{bucket}", glob, options)


def _parse_bucket_page(part: _Part, segments: Sequence[str], options: Mapping[str, Sequence[str]]) -> Reference:
    """Return what the address of a bucket's page means, behind ``/buckets/``."""
    owner, name, *rest = segments
    page, below = (rest[0], "/".join(rest[1:])) if rest else ("", "")
    glob = below if page in _FILE_PAGES else f"{below}/" if page == "tree" and below else ""
    return _bucket_reference(part, f"{owner}/{name}", glob, options)


def _bucket_reference(part: _Part, bucket: str, glob: str, options: Mapping[str, Sequence[str]]) -> Reference:
    name = _name(part, options)
    globs = [*([glob] if glob else []), *options.get("include", ())]
    exclude = options.get("exclude", ())
    base = f"hf://buckets/{bucket}"
    return Reference(
        text=_usual_form(base, glob, globs, exclude, name),
        key=f"{base}#name={name}" if name else base,
        names=(name,) if name else (bucket, f"buckets/{bucket}"),
        source=bucket_source.parse_keys({"bucket": part.of(bucket), **_globs(part, globs, exclude)}),
        homepage="",
    )


def _globs(part: _Part, include: Sequence[str], exclude: Sequence[str]) -> dict[str, Value]:
    """Return globs as the keys of a source."""
    values: dict[str, Value] = {"include": part.of([part.of(one) for one in include])} if include else {}
    return values | ({"exclude": part.of([part.of(one) for one in exclude])} if exclude else {})


def _usual_form(base: str, glob: str, globs: Sequence[str], exclude: Sequence[str], name: str) -> str:
    """Return a reference as people see it.

    Args:
        base: repository and revision, or bucket.
        glob: what stands in the path; empty: nothing.
        globs: all that are included, ``glob`` first.
        exclude: the globs that are not.
        name: the name that the user gives; empty: none.
    """
    # What would begin the options cannot stand in the path.
    in_path, further = (glob, globs[1:]) if glob and "#" not in glob else ("", globs)
    more = [f"include={quote(value, safe=_PLAIN_IN_OPTION)}" for value in further]
    more += [f"exclude={quote(value, safe=_PLAIN_IN_OPTION)}" for value in exclude]
    more += [f"name={name}"] if name else []
    text = f"{base}/{in_path}" if in_path else base
    return f"{text}#{'&'.join(more)}" if more else text


def _path_on_hub(url: str, endpoint: str) -> str | None:
    """Return the path of a page on a Hub, without its query; ``None``: the URL is another server's, or one of the API."""
    for hub in (endpoint, *PUBLIC_HUBS):
        address = re.sub(r"^https?://(?:[^/@]*@)?(?:www\.)?", "", hub.rstrip("/"))
        found = re.match(
            rf"https?://(?:[^/@]*@)?(?:www\.)?{re.escape(address)}(?::443|:80)?(?:/([^?]*))?(?:\?|$)", url, re.IGNORECASE
        )
        if found:
            path = (found[1] or "").strip("/")
            return None if path.startswith("api/") else path
    return None


def _parse_page(part: _Part, path: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return what the address of a page on a Hub means: a repository, a revision of it, a directory or a file."""
    segments = [unquote(segment) for segment in path.split("/")]
    first = segments[0]
    if first in _NO_DATA:
        part.fail(_NO_DATA[first], _HUB_EXAMPLE)
    repo_type: RepoType = "dataset" if first == "datasets" else "model"
    own = segments[1:] if first in {"datasets", "buckets"} else segments
    if len(own) < 2 or first in _NO_OWNERS:  # noqa: PLR2004 - owner and name
        part.fail("this page of the Hub is not that of a repository", _HUB_EXAMPLE)
    if first == "buckets":
        return _parse_bucket_page(part, own, options)
    if not {":", "@"}.isdisjoint(own[1]):
        return _parse_hub(part, path, options)
    repo, page, rest = "/".join(own[:2]), own[2] if own[2:] else "", own[3:]
    revision, glob = "main", ""
    if page in _FILE_PAGES | _REVISION_PAGES and rest:
        joined = "/".join(rest)
        special = _SPECIAL_REVISION.match(joined)
        # In an address a '/' of a revision is encoded, unless it is one of those that the Hub knows.
        revision = special[1] if special else rest[0]
        below = joined[special.end() + 1 :] if special else "/".join(rest[1:])
        glob = "" if page.startswith("commit") or not below else below if page in _FILE_PAGES else f"{below}/"
    elif page and page not in _OTHER_PAGES | {"tree", "commits"}:
        part.fail("this page of the Hub is not that of a repository, a directory or a file", _HUB_EXAMPLE)
    return _hub_reference(part, repo_type, repo, revision=revision, glob=glob, parts=None, options=options)


# --- files -------------------------------------------------------------------------------------------------------------


def _parse_file(part: _Part, url: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return what the URL of a file means."""
    given = _name(part, options)
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
    more += [f"name={name}"] if given else []
    shown = show_url(url)
    return Reference(
        text=f"{shown}#{'&'.join(more)}" if more else shown,
        key=f"{shown}{_query_mark(url)}{f'#name={name}' if given else ''}",
        names=(name,),
        source=UrlSource((UrlFile(url, digest=digest, unpack=unpack, into=into),)),
        homepage=shown,
        is_proven=digest is not None,
    )


def _query_mark(url: str) -> str:
    """Return what tells the queries of URLs apart that differ in nothing else; nothing of a signature is in it."""
    query = urlsplit(url).query
    if not query:
        return ""
    import hashlib  # noqa: PLC0415 - few URLs have a query

    return f"?{hashlib.sha256(redact_urls(f'?{query}').encode()).hexdigest()[:8]}"


def _format_of(file_name: str) -> UnpackFormat:
    """Return how a file is unpacked, by the end of its name."""
    lower = file_name.lower()
    return next((unpack for ending, unpack in ARCHIVE_ENDINGS.items() if lower.endswith(ending)), "none")


def _stem(file_name: str) -> str:
    """Return a file's name without its ending, as the name of a directory."""
    lower = file_name.lower()
    ending = next((ending for ending in ARCHIVE_ENDINGS if lower.endswith(ending)), "")
    stem = file_name[: -len(ending)] if ending else re.sub(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,9}$", "", file_name)
    return re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "_", stem).strip(".")[:96]
