"""Genesis records of the known networks and the builder of new ones."""
