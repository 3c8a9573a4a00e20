"""The trees that sources fill: everything that is created, read, replaced or removed in one goes through this package.

Each name is opened relative to the descriptor of its directory, and no link is ever followed, whoever put it there. Callers
decide what belongs at which path; this package decides where links may point, for the whole tree.
"""
