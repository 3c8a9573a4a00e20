"""From a published tree to rows: one reader for each family of data sets, and what writes their rows as an index.

A reader only reads the tree, never the network; where the index lies and when it is made is decided in
:mod:`provisioner.engine.indexes`. Everything here needs the standard library and PyYAML alone.
"""
