"""The `eubchain` command, a file per group of verbs."""
