"""What ``init`` asks, by subject. Nothing here writes the file with the answers."""
