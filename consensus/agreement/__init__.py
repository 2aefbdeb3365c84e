"""Agreement among validators: Tendermint as a pure machine (arXiv:1807.04938)."""
