"""Sealed data on its way between requester and spark: packing, sealing, stores, tokens and logs."""
