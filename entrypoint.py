"""The image's entry point: a shim."""

from provisioner.cli.early_signals import answer_signals

if __name__ == "__main__":
    answer_signals()
    from provisioner.cli.main import script  # after the handlers: importing it takes a tenth of a second

    script()
