"""The tar formats: V7, POSIX ustar and pax, and GNU. Compression, names and links are judged elsewhere."""
