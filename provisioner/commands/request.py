"""What a command works with."""

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
    """The settings, the command's own options, and the means of the process that runs it."""

    settings: Settings
    options: argparse.Namespace
    """What the command's ``add_arguments`` describes."""
    environ: Mapping[str, str]
    cancellation: Cancellation
    redactor: Redactor
    console: ConsoleHandler
    """The log's handler; progress bars and log lines share its stream."""
    show: Callable[[str], None]
    """Shows people a line before the command has ended; does nothing with ``--json``."""

    def session(self) -> VolumeSession:
        """Return a new session on the volume that the settings name."""
        from provisioner.engine.volume_session import VolumeSession  # noqa: PLC0415 - not for '--help'

        return VolumeSession(self.settings, self.cancellation)

    def catalog(self) -> Catalog:
        """Read the catalog that the settings name.

        Raises:
            ConfigurationError: it does not exist, or is not well formed.
        """
        return load_catalog(self.settings.catalog_paths)

    def described_catalog(self, inventory: Inventory | None = None) -> Catalog:
        """Read the catalog, and return it with entries for all references that it, the request or the volume names.

        Args:
            inventory: what the volume holds, which describes references; ``None``: nothing is known of them.

        Raises:
            ConfigurationError: the catalog or a reference is not well formed.
        """
        from provisioner.engine.references import References  # noqa: PLC0415 - not for '--help'
        from provisioner.planning.model import Inventory  # noqa: PLC0415 - the same

        return References(self.settings, self.catalog()).catalog(inventory or Inventory())

    @property
    def columns(self) -> int:
        """How wide a report may be: the terminal that standard output goes to, or a usual one."""
        from provisioner.reporting.text_width import terminal_size  # noqa: PLC0415 - only commands with tables

        return terminal_size(sys.stdout)[0]

    def progress(self) -> Progress:
        """Return counters that are shown on standard error."""
        from provisioner.reporting.display import make_display  # noqa: PLC0415 - most commands show none
        from provisioner.reporting.progress import Progress  # noqa: PLC0415 - the same

        terminal = self.environ.get("TERM", "")
        return Progress(make_display(sys.stderr, log_format=self.settings.log_format, terminal=terminal, console=self.console))
