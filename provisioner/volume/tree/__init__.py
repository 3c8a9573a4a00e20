"""The trees that sources fill: everything that is made, read, replaced or removed in one goes through this package.

Each name is opened relative to the descriptor of its directory, and no link is ever followed, whoever put it there. What
belongs at which path is decided by the callers; what a link may point to is decided here, for the whole tree.
"""
