"""Faults on demand: what the test server does wrong, on which request, and how often.

A :class:`Rule` names one misbehaviour and the requests it applies to. Rules are held by a :class:`FaultBook`, which
the server asks at each step of answering: before the answer, on its headers, and at each byte of its body.

Nothing here sleeps to make time pass for a test: where a request has to stay unanswered until a test has done
something else (killed the client, say), a :class:`Gate` holds it until it is released.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from tests.support import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Kind = Literal[
    "status",  # answer with `status`, `headers` and `body` instead
    "redirect",  # answer with a redirect to `location`
    "html",  # answer 200 with an error page instead of the file
    "delay",  # wait `seconds` before answering
    "hold",  # wait before answering until the rule's gate is released; other rules apply after that
    "reset",  # RST once `after` body bytes are out (None: before the status line)
    "close",  # orderly close once `after` body bytes are out: the body is too short
    "stall",  # hold the connection at `after` until the server stops or the rule's gate is released
    "gate",  # the same, by a name of your own, to be released by the test
    "throttle",  # send the body at `rate` bytes per second
    "flip",  # invert the lowest bit of the byte at `offset` of the file
    "content_length",  # announce `offset` bytes more (or less) than the file has
    "content_range",  # announce a range that starts `offset` bytes later than asked
    "ignore_range",  # answer a range request with 200 and the whole file
    "change",  # the file changed upstream: other bytes of the same size, other ETag, other date
    "etag",  # a different ETag with each answer for the same bytes, as from servers behind one name that do not agree
    "no_validator",  # neither ETag nor date: nothing identifies the version
    "crowd",  # while `most` other requests are being answered: answer with `status`, or close in an orderly way where that is 0
    "gzip",  # compress the body and declare it, although the client did not ask for it
    "short_listing",  # the listing ends early: the last page is missing, and no link to it
    "bad_path",  # the listing names a file called `body` (by default `../x`)
]

REQUEST_KINDS: Final[tuple[Kind, ...]] = ("hold", "crowd", "status", "redirect", "html", "delay")
BODY_KINDS: Final[tuple[Kind, ...]] = ("reset", "close", "stall", "gate", "throttle", "flip")
HOLDING_KINDS: Final[tuple[Kind, ...]] = ("stall", "gate", "hold")


class Gate:
    """A place where requests wait until a test lets them go.

    The bytes before the gate have been sent to every request that waits here. Whether the client has written them to disk
    must be read from the client's files.
    """

    def __init__(self, name: str) -> None:
        """Make a closed gate that nobody has reached."""
        self.name = name
        self._changed = threading.Condition()
        self._released = False
        self._reached = 0
        self._waiting = 0

    def hold(self) -> None:
        """Wait here until :meth:`release`; called by the server's threads."""
        with self._changed:
            self._reached += 1
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._released)
            self._waiting -= 1

    def wait_reached(self, timeout: float = 30.0, count: int = 1) -> bool:
        """Wait until `count` requests in all have arrived; return false if `timeout` seconds pass first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._reached >= count, timeout)

    def release(self) -> None:
        """Let all waiting and all later requests through."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def state(self) -> dict[str, Any]:
        """Return how many requests have arrived, how many are waiting, and whether the gate is open."""
        with self._changed:
            return {
                "name": self.name,
                "reached": self._reached,
                "waiting": self._waiting,
                "released": self._released,
            }


class Quota:
    """A limit on the number of body bytes over all connections, in force until it is lifted; initially there is none."""

    def __init__(self) -> None:
        """Create it without a limit."""
        self._changed = threading.Condition()
        self._left: int | None = None
        self._waiting = 0

    @property
    def active(self) -> bool:
        """Whether there is a limit."""
        return self._left is not None

    def hold_after(self, count: int) -> None:
        """Allow only ``count`` more bytes."""
        with self._changed:
            self._left = count

    def lift(self) -> None:
        """Remove the limit."""
        with self._changed:
            self._left = None
            self._changed.notify_all()

    def take(self, count: int) -> int:
        """Return how many of ``count`` bytes may be sent now, at least one; wait while none may."""
        with self._changed:
            if self._left == 0:
                self._waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._left != 0)
                self._waiting -= 1
            if self._left is None:
                return count
            count = min(count, self._left)
            self._left -= count
            return count

    def wait_reached(self, gone: Callable[[], bool]) -> bool:
        """Wait until a sender is blocked by the limit; return false if ``gone`` becomes true first."""
        with self._changed:
            while not self._waiting:
                if gone():
                    return False
                self._changed.wait(0.02)
            return True


@dataclass(slots=True)
class Rule:
    """One misbehaviour, and the requests that it applies to."""

    kind: Kind
    method: str = "*"
    """Glob over the method. Body faults never apply to HEAD, which has no body."""
    path: str = "*"
    """Glob over the decoded path without its query; `*` crosses slashes."""
    origin: str = "*"
    """`hub`, `cdn` (LFS files and direct URLs), or `*` for both."""
    first: int | None = None
    """Apply to the first N matching requests only."""
    nth: int | None = None
    """Apply to the Nth matching request only, from 1."""
    since: int | None = None
    """Apply to the Nth matching request and all after it, from 1."""
    after: int | None = 0
    """Body bytes of this response that are sent first; None means not even a status line."""
    offset: int = 0
    """Position in the file (`flip`) or difference in bytes (`content_length`, `content_range`)."""
    rate: int = 1_000_000
    seconds: float = 0.0
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    location: str = ""
    most: int = 1
    """How many requests a server answers at once (`crowd`)."""
    gate: str = ""
    """Name of the gate of `gate`, `stall` and `hold`; derived from the rule's number if empty."""
    number: int = 0
    """Assigned by the fault book."""
    matched: int = 0
    """How many requests matched, whether or not the fault was due."""
    fired: int = 0
    """How many times the fault actually happened."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rule:
        """Read a rule from the control interface; an unknown kind or key is an error."""
        known = {each.name for each in fields(cls)} - {"number", "matched", "fired"}
        unknown = sorted(set(document) - known)
        if unknown:
            message = f"unknown keys in a fault rule: {', '.join(unknown)}"
            raise ValueError(message)
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """Return the rule with its counters."""
        return asdict(self)

    def __post_init__(self) -> None:
        """Reject an unknown kind: such a rule would silently never fire."""
        if self.kind not in get_args(Kind):
            message = f"unknown fault {self.kind!r}; known: {', '.join(get_args(Kind))}"
            raise ValueError(message)

    def covers(self, origin: str, method: str, path: str) -> bool:
        """Return whether this rule applies to a request."""
        return (
            self.origin in {"*", origin}
            and fnmatchcase(method, self.method)
            and fnmatchcase(path, self.path)
            and not (method == "HEAD" and self.kind in BODY_KINDS and self.after is not None)
        )

    def due(self) -> bool:
        """Return whether the match just counted is one for which the fault is due."""
        if self.nth is not None:
            return self.matched == self.nth
        if self.since is not None:
            return self.matched >= self.since
        return self.first is None or self.matched <= self.first


@dataclass(frozen=True, slots=True)
class Span:
    """The range of a file that a response carries."""

    start: int
    length: int

    def contains(self, rule: Rule) -> bool:
        """Return whether the fault of a rule can happen within this range."""
        if rule.kind == "flip":
            return self.start <= rule.offset < self.start + self.length
        return rule.after is not None and rule.after <= self.length


class FaultBook:
    """All rules of a server and their gates; thread-safe."""

    def __init__(self) -> None:
        """Create a book without rules."""
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._gates: dict[str, Gate] = {}
        self._numbers = 0
        self._shut = False

    def add(self, rule: Rule | Kind, **settings: Any) -> Rule:
        """Add a rule, given as such or as its kind and settings; return it, so that a test can read its counters."""
        if not isinstance(rule, Rule):
            rule = Rule(rule, **settings)
        with self._lock:
            self._numbers += 1
            rule.number = self._numbers
            if rule.kind in HOLDING_KINDS and not rule.gate:
                rule.gate = f"{rule.kind}-{rule.number}"
            if rule.gate and rule.gate not in self._gates:
                self._gates[rule.gate] = Gate(rule.gate)
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Remove one rule and release the requests that wait because of it."""
        with self._lock:
            self._rules = [each for each in self._rules if each is not rule]
        if rule.gate:
            self.gate(rule.gate).release()

    def clear(self) -> None:
        """Remove all rules and release all waiting requests."""
        with self._lock:
            gates = list(self._gates.values())
            self._rules.clear()
            self._gates.clear()
        for gate in gates:
            gate.release()

    def shut(self) -> None:
        """Release all waiting requests for good, because the server is stopping."""
        with self._lock:
            self._shut = True
        self.clear()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules, in the order in which they were added."""
        with self._lock:
            return tuple(self._rules)

    def gate(self, name: str) -> Gate:
        """Return the gate of that name; create it if necessary."""
        with self._lock:
            gate = self._gates.setdefault(name, Gate(name))
            shut = self._shut
        if shut:
            gate.release()
        return gate

    def gates(self) -> list[dict[str, Any]]:
        """Return the state of every gate."""
        with self._lock:
            gates = list(self._gates.values())
        return [gate.state() for gate in gates]

    def due(
        self,
        kinds: Iterable[Kind],
        origin: str,
        method: str,
        path: str,
        span: Span | None = None,
        *,
        silent: bool = False,
    ) -> list[Rule]:
        """Return the rules that apply now, counting the match.

        `span` selects only body faults that can happen in this response, so that others are not used up.
        `silent` selects the faults that happen before any answer (`after=None`).
        """
        wanted = frozenset(kinds)
        found: list[Rule] = []
        with self._lock:
            for rule in self._rules:
                if rule.kind not in wanted or not rule.covers(origin, method, path):
                    continue
                if rule.kind in BODY_KINDS and silent != (rule.after is None):
                    continue
                if span is not None and not span.contains(rule):
                    continue
                rule.matched += 1
                if rule.due():
                    found.append(rule)
        return found

    def fired(self, rule: Rule) -> None:
        """Count that a rule's fault has actually happened."""
        with self._lock:
            rule.fired += 1
        tally.count("faults")


def as_rules(document: object) -> list[Rule]:
    """Read one rule or a list of rules from JSON."""
    documents = document if isinstance(document, list) else [document]
    if not all(isinstance(each, dict) for each in documents):
        message = "a fault rule is a JSON object"
        raise ValueError(message)
    return [Rule.from_json(cast("dict[str, Any]", each)) for each in documents]
