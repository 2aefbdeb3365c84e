"""The only place with wiring: a node's configuration, execution, engine and recovery."""
