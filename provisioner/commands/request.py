"""The input of a command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.engine.installation import load_catalog

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Inventory
    from provisioner.redaction import Redactor
    from provisioner.reporting.logs import ConsoleHandler
    from provisioner.reporting.progress import Progress
    from provisioner.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """The settings, the command's own options, and shared objects of the process."""

    settings: Settings
    options: argparse.Namespace
    """The options that the command's ``add_arguments`` added."""
    environ: Mapping[str, str]
    cancellation: Cancellation
    redactor: Redactor
    console: ConsoleHandler
    """The log's handler; progress bars and log lines use the same stream."""
    show: Callable[[str], None]
    """Shows a line to people before the command has ended; has no effect with ``--json``."""

    def session(self) -> VolumeSession:
        """Return a new session for the volume that the settings name."""
        from provisioner.engine.volume_session import VolumeSession  # noqa: PLC0415 - not for '--help'

        return VolumeSession(self.settings, self.cancellation)

    def catalog(self) -> Catalog:
        """Read the catalog that the settings name.

        Raises:
            ConfigurationError: it does not exist, or is not well formed.
        """
        return load_catalog(self.settings.catalog_paths)

    def described_catalog(self, inventory: Inventory | None = None) -> Catalog:
        """Read the catalog, and return it with entries for all references in it, in the request or on the volume.

        Args:
            inventory: what the volume holds, which describes references; ``None`` if that is not known.

        Raises:
            ConfigurationError: the catalog or a reference is not well formed.
        """
        from provisioner.engine.references import References  # noqa: PLC0415 - not for '--help'
        from provisioner.planning.model import Inventory  # noqa: PLC0415 - the same

        return References(self.settings, self.catalog()).catalog(inventory or Inventory())

    @property
    def columns(self) -> int:
        """The width of a report: that of the terminal on standard output, or a usual one."""
        from provisioner.reporting.text_width import terminal_size  # noqa: PLC0415 - only commands with tables

        return terminal_size(sys.stdout)[0]

    def progress(self) -> Progress:
        """Return counters that are displayed on standard error."""
        from provisioner.reporting.display import make_display  # noqa: PLC0415 - most commands show none
        from provisioner.reporting.progress import Progress  # noqa: PLC0415 - the same

        terminal = self.environ.get("TERM", "")
        return Progress(make_display(sys.stderr, log_format=self.settings.log_format, terminal=terminal, console=self.console))
