"""The vocabulary of the chain: amounts, encoding, hashes, keys, addresses, transactions, blocks."""
