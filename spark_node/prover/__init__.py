"""Proving compute: search a window's tiles for shares, on whatever multiplies fastest here."""
