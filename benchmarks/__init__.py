"""How long this program and its peers take for the same work, measured in turn in one run: ``make bench``."""
