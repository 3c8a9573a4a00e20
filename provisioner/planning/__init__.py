"""Planning: from the catalog and a volume's receipts follows a plan, with the bytes that it needs.

Everything here is pure. Code that carries a plan out belongs in :mod:`provisioner.engine`.
"""
