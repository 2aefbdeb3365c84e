"""Settings for every property: no deadline, because a slow machine is no counterexample."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("properties", deadline=None, print_blob=True)
settings.load_profile("properties")
