"""The task market: posting, matching, running and settling compute tasks."""
