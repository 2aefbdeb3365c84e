"""The programs that people run: command line, node, RPC, explorer, client, wallet and ledger."""
