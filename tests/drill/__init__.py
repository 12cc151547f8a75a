"""`make drill`: the product while all goes wrong, and a ledger; one fault is `tests/faults/`."""
