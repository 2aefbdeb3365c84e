"""Proof of Resource: proved compute, earned standing, and what both weigh."""
