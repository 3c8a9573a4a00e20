"""The questions of ``init``, by subject. Nothing here writes the file with the answers."""
