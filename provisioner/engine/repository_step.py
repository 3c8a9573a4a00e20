"""The step for the user's data-set repositories: make sure that they exist and are writable, before any data is fetched.

Success is recorded on the volume, and the Hub is not asked again until endpoint, name or token change.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from provisioner.engine.repository_requests import requests_of
from provisioner.errors import VolumeNotWritableError
from provisioner.remote.hub.repository.record import RECORD_VERSION, remembered, skipped_outcome, to_record
from provisioner.remote.hub.repository.values import RepositoryOutcome
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.newer_records import is_newer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from provisioner.engine.clients import Clients
    from provisioner.errors import ProvisionerError
    from provisioner.remote.hub.repository.values import RepositoryRequest
    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

_TRACKIO_NOTE: Final = (
    "trackio warns that it will not keep its data in data sets in future; DATASET_REPO_KIND=bucket makes a bucket instead"
)
_OTHERS: Final = "others"
"""The key in ``repository.json`` for all repositories except the app's own."""


class RepositoryStep:
    """The repositories that the settings ask for; the app's own is the first."""

    def __init__(self, settings: Settings, record: Path, clients: Clients) -> None:
        """Prepare; no request is made yet.

        Args:
            settings: name the repositories.
            record: the file in which success is recorded.
            clients: have the Hub's client.
        """
        self._requests = requests_of(settings)
        self._may_ask = settings.may_download
        self._record = record
        self._clients = clients

    def recall(self) -> tuple[RepositoryOutcome | None, ...]:
        """Return what is known of each repository without a request; ``None`` for one that the Hub must be asked for."""
        record = read_json(self._record) or {}
        outcomes = tuple(self._recall(request, record, is_first=index == 0) for index, request in enumerate(self._requests))
        if self._may_ask:
            return outcomes
        note = "not asked for, since only a check was wanted (AUTO_DOWNLOAD)"
        return tuple(
            outcome or RepositoryOutcome("skipped", note=f"{request.word}: {note}")
            for request, outcome in zip(self._requests, outcomes, strict=True)
        )

    def complete(self, recalled: Sequence[RepositoryOutcome | None], *, remember: bool = True) -> tuple[RepositoryOutcome, ...]:
        """Ask the Hub for the repositories that are not known yet, and record those that are ready.

        The failure of a repository is in its outcome and is not raised; see :meth:`fatal_error`.

        Args:
            recalled: what :meth:`recall` returned.
            remember: record success on the volume, whose lock is held.

        Raises:
            ProvisionerError: the run must end, or the volume failed.
        """
        outcomes = []
        for request, outcome in zip(self._requests, recalled, strict=True):
            if outcome is not None and outcome.note:
                _LOGGER.info("%s", outcome.note)
            outcomes.append(outcome or self._ask(request))
        if remember and None in recalled and (record := _record_of(list(zip(self._requests, outcomes, strict=True)))):
            found = read_json(self._record)
            if is_newer(found, RECORD_VERSION, key="version") or is_newer(found, RECORD_VERSION):
                _LOGGER.info("%s was written by a newer version of this program and is left alone", self._record)
                return tuple(outcomes)
            with contextlib.suppress(VolumeNotWritableError):
                write_json(self._record, record)
        return tuple(outcomes)

    def fatal_error(self, outcomes: Sequence[RepositoryOutcome]) -> ProvisionerError | None:
        """Return the error of the first repository that the user asked for and that is not available."""
        pairs = zip(self._requests, outcomes, strict=True)
        return next((outcome.error for request, outcome in pairs if request.asked and outcome.error is not None), None)

    def _recall(self, request: RepositoryRequest, record: Mapping[str, Any], *, is_first: bool) -> RepositoryOutcome | None:
        if (skipped := skipped_outcome(request)) is not None:
            return skipped
        others = record.get(_OTHERS)
        entries = [record] if is_first else others if isinstance(others, list) else []
        found = (remembered(entry, request) for entry in entries if isinstance(entry, dict))
        outcome = next((one for one in found if one is not None), None)
        if outcome is None and request.offline:
            return self._ensured(request)  # skipped as well
        return outcome

    def _ask(self, request: RepositoryRequest) -> RepositoryOutcome:
        outcome = self._ensured(request)
        if outcome.error is None:
            _LOGGER.info("%s", outcome.note)
            if outcome.export and request is self._requests[0] and request.kind == "dataset":
                _LOGGER.info(_TRACKIO_NOTE)
        else:
            level = logging.ERROR if request.asked else logging.WARNING
            _LOGGER.log(level, "%s. %s", outcome.note, outcome.error.hint)
        for warning in outcome.warnings:
            _LOGGER.warning("%s", warning)
        return outcome

    def _ensured(self, request: RepositoryRequest) -> RepositoryOutcome:
        # Imported here, so that a start with nothing to do does not pay for it.
        from provisioner.remote.hub.repository.ensure import ensure_repository  # noqa: PLC0415

        # Data never wait long for a repository that the user did not ask for by name.
        return ensure_repository(request, self._clients.hub if request.asked else self._clients.optional_hub)


def _record_of(outcomes: Sequence[tuple[RepositoryRequest, RepositoryOutcome]]) -> dict[str, Any]:
    """Return the content of ``repository.json``: the repositories that are ready."""
    records = [to_record(outcome, request) if outcome.state == "ready" else {} for request, outcome in outcomes]
    others = [record for record in records[1:] if record]
    return {**records[0], **({_OTHERS: others} if others else {})}
