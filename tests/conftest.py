"""Hypothesis draws the same cases in every run, so that what fails elsewhere fails here too.

HYPOTHESIS_PROFILE=hunt draws new ones each time: for looking for cases that nobody has met yet.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("hunt", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
