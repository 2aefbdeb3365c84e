"""The ledger on disk: LevelDB, one atomic and synced batch per block."""
