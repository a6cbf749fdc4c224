"""Hypothesis profiles: on a build machine every run draws the same examples, so that a change is judged and not the dice;
elsewhere every run draws new ones. The database of failing examples is kept by hypothesis itself."""

import os

from hypothesis import settings

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
