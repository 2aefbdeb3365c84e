"""The Python client: talking to a node, following a task from post to paid."""
