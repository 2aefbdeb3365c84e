"""Experiments on Proof of Resource: attacks, each with its figure, and a year of two hundred nodes."""
