"""The image's entry point: a shim."""

from provisioner.cli import script

if __name__ == "__main__":
    script()
