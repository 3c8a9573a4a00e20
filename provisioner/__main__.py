"""``python -m provisioner``."""

from provisioner.cli.main import script

script()
