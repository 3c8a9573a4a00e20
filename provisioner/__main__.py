"""``python -m provisioner``."""

from provisioner.cli import script

script()
