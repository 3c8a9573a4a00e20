"""The Python API: what the command line does, for programs that call it instead of starting a process.

It calls :mod:`provisioner.engine.run`, under the names of the older tool. Settings come from the environment and the config
file, as everywhere; ``cache_dir`` is the volume's root. Nothing here installs signal handlers or changes the process.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from provisioner.cancellation import Cancellation
from provisioner.engine.installation import load_catalog, load_settings
from provisioner.engine.run import Run
from provisioner.errors import ConfigurationError, NotFoundError, ProvisionerError
from provisioner.indexing.model import split_name
from provisioner.reporting.progress import Progress
from provisioner.volume.store.json_file import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.engine.result import Result
    from provisioner.planning.model import Plan

_LOGGER = logging.getLogger(__name__)


class DatasetManager:
    """One volume, and the catalog's data sets on it."""

    def __init__(
        self,
        cache_dir: str | Path | None = None,
        *,
        config_path: str | Path | None = None,
        catalog_path: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Choose the volume; nothing is read yet.

        Args:
            cache_dir: the volume's root; ``None`` means ``DATA_DIR`` or its default.
            config_path: the config file; ``None`` means ``CONFIG_PATH`` or its default.
            catalog_path: the catalog; ``None`` means ``CATALOG_PATH`` or its default.
            environ: the environment to read; ``None`` means that of the process.
        """
        self._environ = dict(os.environ if environ is None else environ)
        given = {"DATA_DIR": cache_dir, "CONFIG_PATH": config_path, "CATALOG_PATH": catalog_path}
        self._overrides = {name: str(value) for name, value in given.items() if value is not None}

    def download_dataset(self, dataset: str) -> Path:
        """Make sure that a data set is on the volume.

        Args:
            dataset: its id, ``ID:PART``, or a reference such as ``hf://datasets/OWNER/NAME``.

        Returns:
            The directory to read.

        Raises:
            ProvisionerError: it is not available; see ``exit_code``, ``message`` and ``hint``.
        """
        run = self._run({"DATASETS": dataset})
        result = _provision(run)
        _raise_for(result)
        return run.session.layout.published(result.plan.steps[0].id)

    def download_phase(self, phase: str) -> dict[str, Path]:
        """Make sure that a phase is on the volume, as far as policy and space allow.

        Args:
            phase: its name, or ``auto``.

        Returns:
            The directories to read, by id, without what was left out.

        Raises:
            ProvisionerError: a data set of the phase failed, or nothing could be done.
        """
        run = self._run({"PHASE": phase})
        result = _provision(run)
        _raise_for(result)
        ready = {name for name, record in result.status["datasets"].items() if record["state"] == "ready"}
        labels = {step.recipe.dataset.label: step.id for step in result.plan.steps}
        return {label: run.session.layout.published(dataset) for label, dataset in labels.items() if label in ready}

    def load(self, dataset: str, split: str | None = None, **options: Any) -> Any:  # noqa: ANN401 - of a library that need not be there
        """Make sure that a data set is on the volume, and return its examples.

        Args:
            dataset: see :meth:`download_dataset`.
            split: see ``datasets.load_dataset``; names as published, such as ``train-clean-100``, are accepted too.
            options: further arguments for ``datasets.load_dataset``, such as ``streaming=True``.

        Returns:
            A ``Dataset`` of the library ``datasets``; without a split, a ``DatasetDict``.

        Raises:
            ConfigurationError: ``datasets`` is not installed, or ``INDEX=off``.
            NotFoundError: the data set has no index, since no reader knows its files.
            ProvisionerError: it is not available.
        """
        try:
            from datasets import load_dataset  # noqa: PLC0415 - not a requirement of this program
        except ImportError as error:
            raise ConfigurationError(
                f"the library 'datasets' cannot be imported here: {error}",
                hint="Install it (pip install datasets), or read the files: download_dataset returns their directory.",
            ) from error
        run = self._run({"DATASETS": dataset})
        result = _provision(run)
        _raise_for(result)
        name = result.plan.steps[0].id
        index = run.session.layout.index(name)
        if not run.session.store.indexes.is_there(name):
            if run.settings.index == "off":
                raise ConfigurationError(f"{dataset} has no index, since INDEX=off", hint="Unset INDEX.")
            record = run.session.store.indexes.record(name) or {}
            raise NotFoundError(
                f"{dataset} has no index: {record.get('problem') or 'no reader knows its files'}",
                hint=f"Read the files: they are in {run.session.layout.published(name)}.",
            )
        return load_dataset(str(index), split=split and _split_in_index(split), **options)

    def list_available_datasets(self) -> list[dict[str, Any]]:
        """Return the catalog.

        Returns:
            For each data set ``id``, ``title``, ``description``, ``purpose``, ``license``, ``commercial``, ``splits``,
            ``phases``, ``size_gb`` (10^9 bytes to fetch, ``None`` where unknown) and ``downloaded``.

        Raises:
            ProvisionerError: the settings or the catalog are not valid.
        """
        from provisioner.reporting.catalog_report import catalog_document  # noqa: PLC0415 - only this method needs it

        run = self._run({})
        inventory = run.session.store.reader.inventory()
        catalog = run.described_catalog(inventory)
        listed = catalog_document(catalog, inventory)["datasets"]
        return [
            {
                "id": dataset.label,
                "title": dataset.title,
                "description": dataset.description,
                "purpose": dataset.purpose,
                "license": dataset.license.name,
                "commercial": dataset.license.commercial,
                "splits": list(dataset.splits),
                "phases": listed[dataset.label]["phases"],
                "size_gb": _gigabytes((listed[dataset.label]["download"] or {}).get("bytes")),
                "downloaded": listed[dataset.label]["on_volume"] is not None,
            }
            for dataset in catalog.datasets.values()
        ]

    def get_status_summary(self) -> dict[str, Any]:
        """Return what the volume holds.

        Returns:
            ``total_available`` and ``downloaded`` (numbers of data sets), ``failed`` (of the last run),
            ``downloaded_size_gb`` (10^9 bytes), ``datasets`` (id to state, path, files, bytes) and ``failures`` (id to error).

        Raises:
            ProvisionerError: the settings or the catalog are not valid, or the volume cannot be read.
        """
        run = self._run({})
        inventory = run.session.store.reader.inventory()
        published = (inventory.receipts[name, version] for name, version in inventory.published.items())
        here = {receipt.label: receipt for receipt in published}
        records = (read_json(run.session.layout.status) or {}).get("datasets")
        failures = {
            name: record["error"]
            for name, record in (records.items() if isinstance(records, dict) else ())
            if isinstance(record, dict) and record.get("state") == "failed" and name not in here
        }
        return {
            "total_available": len(run.described_catalog(inventory).datasets),
            "downloaded": len(here),
            "failed": len(failures),
            "downloaded_size_gb": _gigabytes(sum(receipt.size for receipt in here.values())),
            "datasets": {
                name: {
                    "state": "ready",
                    "path": str(run.session.layout.published(receipt.dataset)),
                    "version": receipt.version,
                    "files": receipt.files,
                    "bytes": receipt.size,
                }
                for name, receipt in here.items()
            },
            "failures": failures,
        }

    def auto_download_on_space(self, max_size_gb: float | None = None) -> bool:
        """Fetch the largest phase that fits, if this is a Hugging Face Space; do nothing elsewhere.

        Args:
            max_size_gb: limit of what is kept on the volume (10^9 bytes); ``None`` means ``MAX_STORAGE_GB``, or no limit.

        Returns:
            Whether the data are there; a failure is logged and not raised, since an app may start without data.
        """
        if not self._environ.get("SPACE_ID"):
            _LOGGER.info("Not in a Space (SPACE_ID is not set): nothing is fetched")
            return False
        limit = {"MAX_STORAGE_GB": str(max_size_gb)} if max_size_gb is not None else {}
        try:
            _raise_for(_provision(self._run({"PHASE": "auto", **limit})))
        except ProvisionerError as error:
            _LOGGER.error("%s %s", error.message, error.hint)
            return False
        return True

    def plan(self, phase: str) -> Plan:
        """Return what :meth:`download_phase` would do.

        Raises:
            ProvisionerError: the settings or the catalog are not valid, or the volume cannot be read.
        """
        return self._run({"PHASE": phase}).plan()[0]

    def _run(self, overrides: Mapping[str, str]) -> Run:
        settings = load_settings({**self._overrides, **overrides}, self._environ)
        return Run(
            settings,
            load_catalog(settings.catalog_paths),
            cancellation=Cancellation(),
            progress=Progress(),
            given=self._environ,
        )


def setup_datasets_for_space(phase: str = "minimal", cache_dir: str | Path | None = None) -> dict[str, Any]:
    """Fetch a phase, and return :meth:`DatasetManager.get_status_summary`; the older tool has this function.

    Raises:
        ProvisionerError: a data set of the phase failed, or nothing could be done.
    """
    manager = DatasetManager(cache_dir=cache_dir)
    manager.download_phase(phase)
    return manager.get_status_summary()


def _provision(run: Run) -> Result:
    try:
        return run.provision()
    except UnicodeEncodeError as error:
        # The command line would restart itself; a process that belongs to another program cannot.
        raise ConfigurationError(
            f"the name {error.object!a} cannot be written: this process encodes names of files as {error.encoding}",
            hint="Start Python in UTF-8 mode: python -X utf8, or PYTHONUTF8=1.",
        ) from None
    finally:
        run.clients.close()


def _raise_for(result: Result) -> None:
    if result.error is not None:
        raise result.error


def _split_in_index(split: str) -> str:
    """Return an expression such as ``train-clean-100[:10%]+dev-clean`` with the split names of an index."""
    parts = (part.strip().partition("[") for part in split.split("+"))
    return "+".join(f"{split_name(name)}{bracket}{rest}" for name, bracket, rest in parts)


def _gigabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 10**9, 3)
