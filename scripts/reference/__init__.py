"""Pages written from the code: docs/reference, the records of the protocol, the index, the changelog.

Here: a module per page, and what they share. Not here: pages that people write.
Keeps: a page is a function of the code (and, for index and changelog, of the files beside them), so
that `scripts/docs --check` and tests/unit/test_reference_docs.py can tell a stale one.
"""
