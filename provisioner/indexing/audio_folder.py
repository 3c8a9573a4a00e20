"""Audio in directories: any other tree of which half of the files or more are audio."""

from __future__ import annotations

from typing import Final

from provisioner.indexing.folders import folder_reader

READER: Final = folder_reader("audio")
