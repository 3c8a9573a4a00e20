"""Parsers of the settings' texts: each converts a text to a value, or raises :class:`BadTextError`.

A parser knows neither the name of the setting nor where its text was found; :mod:`provisioner.settings.lookup` does, and
words the message.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote, urlsplit

from provisioner.catalog.document import nearest
from provisioner.redaction import MASK, redact_urls
from provisioner.settings.defaults import DEFAULT_PORT, LAST_PORT
from provisioner.settings.secret import Secret
from provisioner.settings.written import DOUBLE_QUOTES, QUOTES, invisible_in, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_LONGEST_TIME: Final = 365 * 86_400
"""The longest time that can be set, in seconds; every clock and every waiting call accepts it."""
_LARGEST_AMOUNT: Final = 10**18
"""The largest amount that can be set, in bytes."""
_SHOWN: Final = 80
"""Maximum number of characters of an invalid value that a message repeats."""
SHIPPED: Final = Path()
"""Stands for the catalog that comes with the program, in a list of catalogs."""
_LONGEST_PATH: Final = 4096
_LONGEST_ROOT: Final = _LONGEST_PATH - 1536
"""Leaves space for the longest path of a data set's file, and for the directories of the store above it."""
_LONGEST_NAME: Final = 255
"""Length in bytes, as on Linux."""
_SHORTEST_PASSWORD: Final = 8
_LONGEST_TOKEN: Final = 8192
"""Length in characters; servers refuse longer headers."""

TOKEN_PREFIX: Final = "hf_"  # noqa: S105 - the first characters of a token, not a token
"""Every token of the Hub begins with this prefix."""

T = TypeVar("T")
W = TypeVar("W", bound=str)


class BadTextError(Exception):
    """An invalid text; the caller, who knows where it came from, turns this into a message."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def shown(text: str) -> str:
    """Return an invalid text for a message: shortened, quoted, and masked if a URL in it contains a secret."""
    # An unencoded password may contain characters after which the text no longer looks like a URL.
    if redact_urls(text) != text or re.search(r":.*@", text, re.DOTALL):
        return repr(MASK)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def plain_text(text: str) -> str:
    """Parse a text of printable characters."""
    if not text.isprintable():
        raise BadTextError(f"{shown(text)} holds a character that cannot be printed", "Write it as plain text.")
    if not QUOTES.isdisjoint(text):
        raise BadTextError(f"{shown(text)} holds a quote", "Write it without quotes.")
    return text


def path(text: str) -> Path:
    """Parse a path, which need not exist."""
    # Surrogates are not printable but valid: they stand for the bytes of a name that is not UTF-8.
    if any(character < " " or character == "\x7f" for character in text):
        raise BadTextError(f"{shown(text)} is not a path", "A path holds no control characters.")
    if invisible := invisible_in(text):
        hint = "Write the path anew: the character looks like a blank, or like nothing."
        raise BadTextError(f"{shown(text)} holds the character {invisible}", hint)
    # An apostrophe within a word may be part of a name.
    if not DOUBLE_QUOTES.isdisjoint(text) or not QUOTES.isdisjoint(re.sub(r"(?<=\w)['’](?=\w)", "", text)):  # noqa: RUF001
        raise BadTextError(f"{shown(text)} holds a quote", "Write the path without quotes.")
    if len(name := _bytes(text)) >= _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in name.split(b"/")):
        hint = f"No part of a path has more than {_LONGEST_NAME} bytes."
        raise BadTextError(f"{shown(text)} is longer than a path can be", hint)
    if text.startswith("~"):
        raise BadTextError(f"{shown(text)} names another user's directory", "Write the path itself; only ~/ is replaced.")
    return Path(text)


def root_directory(text: str) -> Path:
    """Parse the path of a directory in which the program makes long paths of its own; it need not exist."""
    root = path(text)
    if len(_bytes(text)) > _LONGEST_ROOT:
        hint = f"Use a path of at most {_LONGEST_ROOT:,} bytes: the files of data sets have long paths of their own."
        raise BadTextError(f"{shown(text)} is too long for the files that come into it", hint)
    return root


def catalogs(text: str) -> tuple[Path, ...]:
    """Parse the paths of catalogs, separated by ``:``; an empty one becomes :data:`SHIPPED`."""
    parts = [unwrapped(part) for part in text.split(":")]
    if again := next((part for part in parts if parts.count(part) > 1), None):
        raise BadTextError(f"{shown(again)} is named twice", "Name each catalog once; a later one wins.")
    return tuple(path(part) if part else SHIPPED for part in parts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def one_of(known: tuple[W, ...]) -> Callable[[str], W]:
    """Return a parser for one of the ``known`` words, regardless of case."""

    def parse(text: str) -> W:
        for word in known:
            if word == text.lower():
                return word
        hint = guess(text, known) or f"Accepted: {', '.join(known[:-1])} or {known[-1]}."
        raise BadTextError(f"{shown(text)} is not one of {', '.join(known)}", hint)

    return parse


def guess(word: str, known: tuple[str, ...]) -> str:
    """Return a sentence that suggests the most similar known word; empty if none is similar."""
    sentence = nearest(word, known)
    return sentence if sentence.startswith("Did you mean") else ""


_TRUTHS: Final = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def boolean(text: str) -> bool:
    """Parse a truth value."""
    truth = _TRUTHS.get(text.lower())
    if truth is None:
        raise BadTextError(f"{shown(text)} is neither true nor false", "Accepted: true or false.")
    return truth


def truth_or_one_of(known: tuple[W, ...]) -> Callable[[str], W]:
    """Return a parser for one of the ``known`` words, where ``true`` and ``false`` may be written as in :func:`boolean`."""

    def parse(text: str) -> W:
        truth = _TRUTHS.get(text.lower())
        return one_of(known)(text if truth is None else str(truth))

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser for a whole number between ``low`` and ``high``, both included."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
        if not low <= number <= high:
            raise BadTextError(f"{shown(text)} is not a whole number from {low} to {high}", f"For example {low}.")
        return number

    return parse


def port_or_off(text: str) -> int | None:
    """Parse a TCP port, or ``off``, which becomes ``None``."""
    if text.lower() in {"off", "none", "false", "0"}:
        return None
    number = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 1 <= number <= LAST_PORT:
        raise BadTextError(f"{shown(text)} is not a port", f"Accepted: 1 to {LAST_PORT}, or off; for example {DEFAULT_PORT}.")
    return number


def address(text: str) -> str:
    """Parse an IP address, or ``*`` for all."""
    from ipaddress import ip_address  # noqa: PLC0415 - it is seldom set, and a start with nothing to do must not pay for it

    try:
        return text if text == "*" else str(ip_address(text))
    except ValueError:
        raise BadTextError(
            f"{shown(text)} is not an address", "Accepted: * for all, or an IP address such as 127.0.0.1."
        ) from None


def auto_or(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """Return a parser for ``auto``, which becomes ``None``, or for anything that ``parse`` accepts."""

    def parse_or_auto(text: str) -> T | None:
        if text.lower() == "auto":
            return None
        try:
            return parse(text)
        except BadTextError as error:
            raise BadTextError(f"{error.problem}, and not `auto`", f"{error.hint[:-1]}, or auto.") from None

    return parse_or_auto


def amount(unit: int, unit_name: str) -> Callable[[str], int]:
    """Return a parser for a decimal number of ``unit`` bytes; the value is in bytes, and at least one."""

    def parse(text: str) -> int:
        number = Decimal(text) if re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", text) else Decimal(0)
        size = int(number * unit)
        if not 1 <= size <= _LARGEST_AMOUNT:
            hint = f"Accepted: a number above 0 in {unit_name}, without the unit, such as 25 or 0.5; leave it empty for no limit."
            raise BadTextError(f"{shown(text)} is not a number of {unit_name}", hint)
        return size

    return parse


_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(*, zero: bool) -> Callable[[str], float]:
    """Return a parser for a duration; the value is in seconds, and 0 is accepted only with ``zero``."""

    def parse(text: str) -> float:
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([smhd]?)", text.lower())
        hint = "Accepted: seconds, or a number with s, m, h or d, such as 90, 90s, 30m, 6h, 1.5h or 7d."
        if match is None:
            raise BadTextError(f"{shown(text)} is not a duration", hint)
        seconds = float(match[1]) * _SECONDS[match[2]]
        if seconds > _LONGEST_TIME:
            raise BadTextError(f"{shown(text)} is more than a year", hint)
        if not seconds and not zero:
            raise BadTextError(f"{shown(text)} leaves no time at all", "Leave it empty for no limit.")
        return seconds

    return parse


def share(text: str) -> tuple[int, int]:
    """Parse a share: its index, counted from 0, and the number of shares."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise BadTextError(f"{shown(text)} is not a share", "Write i/n: the first of four is 0/4, the last is 3/4.")
    return int(match[1]), int(match[2])


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas; repetitions are dropped, and the order is kept."""
    return several(text, (plain_text(unwrapped(name)) for name in text.split(",")))


def several(text: str, items: Iterable[str]) -> tuple[str, ...]:
    """Return the items of a list without repetitions; there must be at least one. ``text`` is the whole list."""
    found = tuple(dict.fromkeys(filter(None, items)))
    if not found:
        raise BadTextError(f"{shown(text)} names nothing", "Separate names by commas, such as ljspeech,urmp.")
    return found


def _pairs(text: str, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in names(text):
        match = re.fullmatch(r"([\w./-]+)\s*=\s*(\S+)", item)
        if match is None:
            raise BadTextError(f"{shown(item)} is not ID=VALUE", f"For example {example}.")
        if match[1] in pairs:
            raise BadTextError(f"{shown(match[1])} is given twice", "Keep one of them.")
        pairs[match[1]] = match[2]
    return pairs


def priorities(text: str) -> Mapping[str, int]:
    """Parse ``ID=1`` to ``ID=5``, separated by commas."""
    by_id: dict[str, int] = {}
    for name, number in _pairs(text, "ljspeech=5,urmp=1").items():
        if number not in {"1", "2", "3", "4", "5"}:
            hint = "Accepted: 1 to 5; higher is fetched first and given up last."
            raise BadTextError(f"{shown(number)} is not a priority of {name}", hint)
        by_id[name] = int(number)
    return by_id


def layouts(text: str) -> Mapping[str, str]:
    """Parse ``ID=LAYOUT``, separated by commas."""
    return _pairs(text, "libritts=parquet")


def _checked_url(text: str, schemes: tuple[str, ...]) -> str:
    accepted = " or ".join(f"{scheme}://" for scheme in schemes)
    hint = f"Accepted: a URL that begins with {accepted}."
    try:
        parts = urlsplit(text)
        right = parts.scheme in schemes and bool(parts.hostname or parts.scheme == "file") and parts.port != 0
    except ValueError:
        right = False
    if not right or not text.isprintable() or " " in text or not DOUBLE_QUOTES.isdisjoint(text):
        raise BadTextError(f"{shown(text)} is not a URL that can be used here", hint)
    return text


def endpoint(text: str) -> str:
    """Parse the URL of a Hub; the value has no slash at the end."""
    url = _checked_url(text, ("http", "https"))
    if "?" in url or "#" in url:
        raise BadTextError(f"{shown(text)} is not the address of a Hub", "Accepted: a URL without a query.")
    return url.rstrip("/")


def proxy(text: str) -> str:
    """Parse the URL of a proxy; the scheme is ``http`` by default."""
    # Many users write `proxy.local:3128`, which curl and Python's own libraries accept as well.
    return _checked_url(text if "://" in text else f"http://{text}", ("http", "https"))


def rewrites(text: str) -> tuple[tuple[str, str], ...]:
    """Parse ``PREFIX=REPLACEMENT``, separated by ``;``; the value has the longest prefix first."""
    rules: dict[str, str] = {}
    for item in filter(None, (unwrapped(part) for part in text.split(";"))):
        # A URL may itself contain "="; the separator is the first one that is followed by another URL.
        match = re.fullmatch(r"(\S+?)=((?:https?|file)://\S*)", item)
        if match is None:
            hint = "Accepted: PREFIX=REPLACEMENT, both URLs, several separated by ';'."
            raise BadTextError(f"{shown(item)} is not a rule to rewrite URLs", hint)
        prefix, replacement = _checked_url(match[1], ("http", "https")), _checked_url(match[2], ("http", "https", "file"))
        if rules.setdefault(prefix, replacement) != replacement:
            raise BadTextError(f"{shown(prefix)} is given twice", "Keep one replacement for each prefix.")
    return tuple(sorted(rules.items(), key=lambda rule: -len(rule[0])))


def directories(text: str) -> tuple[Path, ...]:
    """Parse paths of directories, separated by ``:``; they need not exist."""
    return tuple(dict.fromkeys(path(part) for part in map(unwrapped, text.split(":")) if part))


def peers(text: str) -> tuple[str, ...]:
    """Parse directories and ``http`` addresses of volumes, separated by ``;``; addresses get no slash at the end."""
    found: list[str] = []
    for item in filter(None, (unwrapped(part) for part in text.split(";"))):
        if re.match(r"https?:", item, re.IGNORECASE):
            url = _checked_url(item, ("http", "https"))
            if "?" in url or "#" in url:
                raise BadTextError(f"{shown(item)} is not the address of a volume", "Accepted: a URL without a query.")
            found.append(url.rstrip("/"))
        elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", item) and not item.startswith("file:///"):
            raise BadTextError(f"{shown(item)} is no peer", "Accepted: a directory, file:///PATH, or an http or https address.")
        else:
            found.append(str(path(unquote(item[len("file://") :]) if item.startswith("file://") else item)))
    return tuple(dict.fromkeys(found))


_HUB_NAME: Final = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


def owner(text: str) -> str:
    """Parse the name of a user or an organization of the Hub."""
    if not _HUB_NAME.fullmatch(text):
        raise BadTextError(f"{shown(text)} is not a name of the Hub", "Write the user or organization as in its page's URL.")
    return text


def repository(text: str) -> str:
    """Parse ``NAME`` or ``OWNER/NAME``; the value is empty for ``none``, ``off`` and ``false``."""
    if text.lower() in {"none", "off", "false"}:
        return ""
    parts = text.split("/")
    if len(parts) > 2 or not all(_HUB_NAME.fullmatch(part) for part in parts):  # noqa: PLR2004 - owner and name
        hint = "Accepted: NAME or OWNER/NAME of letters, digits, '-', '_' and '.'; 'none' turns it off."
        raise BadTextError(f"{shown(text)} is not the name of a repository", hint)
    return text


def password(text: str) -> Secret:
    """Parse the text with which people sign in; the message about an invalid one does not show it."""
    if len(text) < _SHORTEST_PASSWORD:
        hint = "Choose a longer one, such as what 'openssl rand -hex 16' prints; an empty file is no token."
        raise BadTextError(f"fewer than {_SHORTEST_PASSWORD} characters can be guessed", hint)
    return token(text)


def token(text: str) -> Secret:
    """Parse a token; the message about an invalid one does not show it."""
    if len(text) > _LONGEST_TOKEN:
        raise BadTextError(f"more than {_LONGEST_TOKEN:,} characters are not a token", "Give the token itself, and nothing else.")
    # A token is sent in a header, which a line break or a non-ASCII character would break or change.
    for position, character in enumerate(text, start=1):
        if not "!" <= character <= "~" or character in QUOTES:
            raise BadTextError(f"character {position} is not allowed in a token", "Copy the token again: one line, no quotes.")
    return Secret(text)
