"""Fill a volume with the data sets that an application needs, before that application starts.

From Python::

    >>> from provisioner import DatasetManager
    >>> manager = DatasetManager(cache_dir="/data")
    >>> print(manager.download_dataset("ljspeech"))
    /data/datasets/ljspeech
    >>> manager.get_status_summary()["downloaded"]
    1

On the command line ``provisioner --help`` lists the commands. Both read the same settings from the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner._version import __version__

if TYPE_CHECKING:
    from provisioner.dataset_manager import DatasetManager, setup_datasets_for_space

__all__ = ["DatasetManager", "__version__", "setup_datasets_for_space"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    # The Python API is loaded when it is used: the command line does not pay for it.
    if name in {"DatasetManager", "setup_datasets_for_space"}:
        from provisioner import dataset_manager  # noqa: PLC0415

        return getattr(dataset_manager, name)
    raise AttributeError(name)
