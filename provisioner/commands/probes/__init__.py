"""The probes of ``doctor``, by subject. A probe leaves nothing behind and fetches no data."""
