"""Operations on any file system that must be correct: write, sync, replace, link, remove, lock, and measure space.

Callers give paths; nothing here knows what a volume holds. Sizes are in bytes, links are never followed, and errors of the
system become errors of the program.
"""
