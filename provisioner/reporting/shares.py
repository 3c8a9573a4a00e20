"""Merge the records of the workers that fetch shares of one volume into its status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.units import format_bytes, format_share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def with_shares(document: Mapping[str, Any] | None, shares: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return a status document with the workers' records; if no run has written one yet, make it from their sums.

    Args:
        document: the status, or ``None`` if there is none.
        shares: a record for each share, whether a worker has begun it or not.
    """
    if not shares or document is not None:
        return {**document, "shares": list(shares)} if shares and document is not None else document
    return {
        "state": "provisioning",
        "host": ", ".join(sorted({str(one["host"]) for one in shares if "host" in one})),
        "updated_at": max((str(one["updated_at"]) for one in shares if "updated_at" in one), default=None),
        "bytes_done": sum(map(share_done, shares)),
        "bytes_total": sum(_number(one.get("bytes_total")) for one in shares),
        "datasets": {},
        "shares": list(shares),
    }


def share_done(share: Mapping[str, Any]) -> int:
    """Return how many bytes of a share are here."""
    return _number(share.get("bytes_total" if share.get("state") == "complete" else "bytes_done"))


def shares_text(shares: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each share that a worker has begun, and one that names the others."""
    lines = [f"Share {one.get('share')}: {one.get('state')}, {share_line(one)}" for one in shares if not _is_missing(one)]
    missing = ", ".join(str(one.get("share")) for one in shares if _is_missing(one))
    return "\n".join([*lines, f"Shares that no worker has begun: {missing}"] if missing else lines)


def share_line(share: Mapping[str, Any]) -> str:
    """Return how much of a share is here, on which host it is fetched, and at what time that was recorded."""
    done, total = share_done(share), _number(share.get("bytes_total"))
    parts = [format_share(done, total) if done < total else format_bytes(done)]
    parts += [str(share[key]) for key in ("host", "updated_at") if key in share]
    return ", ".join(parts)


def _is_missing(share: Mapping[str, Any]) -> bool:
    return share.get("state") == "missing"


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
