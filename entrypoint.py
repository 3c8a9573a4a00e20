"""The image's entry point: a shim."""

from provisioner.early import answer_signals

if __name__ == "__main__":
    answer_signals()
    from provisioner.cli import script  # after the handlers: importing it takes a tenth of a second

    script()
