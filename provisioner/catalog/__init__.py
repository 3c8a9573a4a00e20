"""What should exist: the catalog of data sets and phases, as pure values."""
