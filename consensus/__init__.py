"""What every node must agree on, as pure functions: no clock, no randomness, no files, no network."""
