"""The state transition: what each transaction and each block does to the ledger's state."""
