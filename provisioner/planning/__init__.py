"""What to do: desired (catalog) against actual (receipts) gives a plan, as pure values."""
