"""What to do: the catalog and a volume's receipts give a plan, with the bytes that it needs.

Everything here is pure. What carries a plan out belongs in :mod:`provisioner.engine`.
"""
