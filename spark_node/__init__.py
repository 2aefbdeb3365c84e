"""The compute node: it offers, runs tasks in a sandbox and delivers sealed results."""
