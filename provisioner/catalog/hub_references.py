"""References to a repository or a bucket of the Hub: ``hf://…``, and the addresses of its pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from provisioner.catalog import bucket_source, hub_source
from provisioner.catalog.card_parts import PART
from provisioner.catalog.document import Value, quoted
from provisioner.catalog.hub_source import PUBLIC_HUBS
from provisioner.catalog.written_parts import parse_options
from provisioner.catalog.written_reference import Reference, stated_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.hub_source import HubSource, RepoType
    from provisioner.catalog.written_reference import WrittenReference

_SPECIAL_REVISION: Final = re.compile(r"(refs/(?:convert/[\w-]+|pr/\d+))(?=[/:]|$)")
"""Revisions with a ``/`` that the Hub's client recognises in a path."""
_PLAIN_IN_OPTION: Final = "*/[]!?@:"
_NO_DATA: Final[Mapping[str, str]] = {
    "spaces": "a Space is a program, and not data",
    "kernels": "kernels are programs, and not data",
}
_TYPES: Final = frozenset({"datasets", "models"})
_NO_OWNERS: Final = frozenset(
    {"blog", "chat", "collections", "docs", "enterprise", "join", "learn", "login", "models", "new", "notifications"}
    | {"organizations", "papers", "posts", "pricing", "search", "settings", "support", "tasks"}
)
"""First components of the paths of a Hub's other pages."""
_FILE_PAGES: Final = frozenset({"blob", "resolve", "raw", "blame", "edit"})
_REVISION_PAGES: Final = frozenset({"tree", "commit", "commits"})
_OTHER_PAGES: Final = frozenset({"activity", "discussions", "embed", "settings", "viewer"})
_HUB_EXAMPLE: Final = (
    "Write hf://datasets/OWNER/NAME for data, hf://OWNER/NAME for a model, hf://buckets/OWNER/NAME for a bucket."
)


def parse_hub(part: WrittenReference, body: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return the reference for what follows ``hf://``."""
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
    """Return the text before the first of some characters, and the rest including that character."""
    end = next((at for at, character in enumerate(text) if character in ends), len(text))
    return text[:end], text[end:]


def _split_revision(part: WrittenReference, text: str) -> tuple[str, str]:
    """Return the revision after ``@``, and what follows it."""
    if special := _SPECIAL_REVISION.match(text):
        return special[1], text[special.end() :]
    revision, tail = _split(text, "/:")
    if not revision:
        part.fail("there is no revision behind the '@'", "Write a branch, a tag or a commit, or leave the '@' out.")
    return unquote(revision), tail


def _parts(part: WrittenReference, repo_type: RepoType, repo: str, written: str) -> tuple[str, ...]:
    """Return the names of the parts after ``:``."""
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
    part: WrittenReference,
    repo_type: RepoType,
    repo: str,
    *,
    revision: str,
    glob: str,
    parts: str | None,
    options: Mapping[str, Sequence[str]],
) -> Reference:
    """Return the reference for a repository with its revision, its glob or parts, and its options."""
    chosen = () if parts is None else _parts(part, repo_type, repo, parts)
    name = stated_name(part, options)
    globs = [*([glob] if glob else []), *options.get("include", ())]
    exclude = options.get("exclude", ())
    values: dict[str, Value] = {"repo": part.of(repo), "revision": part.of(revision), "repo_type": part.of(repo_type)}
    values |= {"parts": part.of([part.of(one) for one in chosen])} if chosen else {}
    source: HubSource = hub_source.parse_keys(values | _globs(part, globs, exclude))
    rule, rule_options = parse_options(options, part)
    base = f"hf://{'datasets/' if repo_type == 'dataset' else ''}{repo}"
    written = revision if _SPECIAL_REVISION.fullmatch(revision) else quote(revision, safe="")
    at_parts = f":{'+'.join(quote(one, safe='/') for one in chosen)}" if chosen else ""
    return Reference(
        text=_usual_form(
            f"{base}{f'@{written}' if revision != 'main' else ''}{at_parts}", glob, globs, exclude, [*rule_options, *_named(name)]
        ),
        key=f"{base}#name={name}" if name else base,
        names=(name,) if name else (repo, f"{repo_type}s/{repo}"),
        source=source,
        homepage="",
        is_model=repo_type == "model",
        parts=chosen,
        rule=rule,
    )


def _parse_bucket(part: WrittenReference, body: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return the reference for what follows ``hf://buckets/``."""
    owner, _, rest = body.partition("/")
    bucket, _, glob = rest.partition("/")
    if not owner or not bucket:
        part.fail("it names no bucket: there must be an owner and a name", "Write hf://buckets/OWNER/NAME.")
    if "@" in owner + bucket:
        part.fail("a bucket has no revisions, so there is no '@'", f"Write hf://buckets/{owner}/{bucket.partition('@')[0]}.")
    return _bucket_reference(part, f"{owner}/{bucket}", glob, options)


def _parse_bucket_page(part: WrittenReference, segments: Sequence[str], options: Mapping[str, Sequence[str]]) -> Reference:
    """Return the reference for the address of a bucket's page, after ``/buckets/``."""
    owner, name, *rest = segments
    page, below = (rest[0], "/".join(rest[1:])) if rest else ("", "")
    glob = below if page in _FILE_PAGES else f"{below}/" if page == "tree" and below else ""
    return _bucket_reference(part, f"{owner}/{name}", glob, options)


def _bucket_reference(part: WrittenReference, bucket: str, glob: str, options: Mapping[str, Sequence[str]]) -> Reference:
    name = stated_name(part, options)
    globs = [*([glob] if glob else []), *options.get("include", ())]
    exclude = options.get("exclude", ())
    rule, rule_options = parse_options(options, part)
    base = f"hf://buckets/{bucket}"
    return Reference(
        text=_usual_form(base, glob, globs, exclude, [*rule_options, *_named(name)]),
        key=f"{base}#name={name}" if name else base,
        names=(name,) if name else (bucket, f"buckets/{bucket}"),
        source=bucket_source.parse_keys({"bucket": part.of(bucket), **_globs(part, globs, exclude)}),
        homepage="",
        rule=rule,
    )


def _named(name: str) -> list[str]:
    """Return the option with the name that the user gives, if any."""
    return [f"name={name}"] if name else []


def _globs(part: WrittenReference, include: Sequence[str], exclude: Sequence[str]) -> dict[str, Value]:
    """Return globs as the keys of a source."""
    values: dict[str, Value] = {"include": part.of([part.of(one) for one in include])} if include else {}
    return values | ({"exclude": part.of([part.of(one) for one in exclude])} if exclude else {})


def _usual_form(base: str, glob: str, globs: Sequence[str], exclude: Sequence[str], others: Sequence[str]) -> str:
    """Return a reference in the form that users see.

    Args:
        base: repository and revision, or bucket.
        glob: the glob in the path; empty if there is none.
        globs: all included globs, with ``glob`` first.
        exclude: the excluded globs.
        others: all other options, in their usual form.
    """
    # A '#' would begin the options, so such a glob cannot be in the path.
    in_path, further = (glob, globs[1:]) if glob and "#" not in glob else ("", globs)
    more = [f"include={quote(value, safe=_PLAIN_IN_OPTION)}" for value in further]
    more += [f"exclude={quote(value, safe=_PLAIN_IN_OPTION)}" for value in exclude]
    more += others
    text = f"{base}/{in_path}" if in_path else base
    return f"{text}#{'&'.join(more)}" if more else text


def path_on_hub(url: str, endpoint: str) -> str | None:
    """Return the path of a page on a Hub, without its query; ``None`` if the URL is for another server, or for the API."""
    for hub in (endpoint, *PUBLIC_HUBS):
        address = re.sub(r"^https?://(?:[^/@]*@)?(?:www\.)?", "", hub.rstrip("/"))
        found = re.match(
            rf"https?://(?:[^/@]*@)?(?:www\.)?{re.escape(address)}(?::443|:80)?(?:/([^?]*))?(?:\?|$)", url, re.IGNORECASE
        )
        if found:
            path = (found[1] or "").strip("/")
            return None if path.startswith("api/") else path
    return None


def parse_page(part: WrittenReference, path: str, options: Mapping[str, Sequence[str]]) -> Reference:
    """Return the reference for the address of a page on a Hub: a repository, a revision, a directory or a file."""
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
        return parse_hub(part, path, options)
    repo, page, rest = "/".join(own[:2]), own[2] if own[2:] else "", own[3:]
    revision, glob = "main", ""
    if page in _FILE_PAGES | _REVISION_PAGES and rest:
        joined = "/".join(rest)
        special = _SPECIAL_REVISION.match(joined)
        # In an address, the '/' of a revision is encoded, unless the revision is a special one that the Hub knows.
        revision = special[1] if special else rest[0]
        below = joined[special.end() + 1 :] if special else "/".join(rest[1:])
        glob = "" if page.startswith("commit") or not below else below if page in _FILE_PAGES else f"{below}/"
    elif page and page not in _OTHER_PAGES | {"tree", "commits"}:
        part.fail("this page of the Hub is not that of a repository, a directory or a file", _HUB_EXAMPLE)
    return _hub_reference(part, repo_type, repo, revision=revision, glob=glob, parts=None, options=options)
