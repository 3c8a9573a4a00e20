"""From a published tree to rows: one reader for each family of data sets, and code that writes the rows as an index.

Readers read only the tree, and never use the network; :mod:`provisioner.engine.indexes` decides where an index is and when it
is made. Everything here needs only the standard library and PyYAML.
"""
