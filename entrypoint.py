"""The image's entry point: a shim."""

from provisioner.cli.early_signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()
    from provisioner.cli.main import script  # after the handlers: importing it takes a tenth of a second

    script()
