"""Hypothesis draws the same cases in every run, so that what fails elsewhere fails here too.

HYPOTHESIS_PROFILE=hunt draws new ones each time: for looking for cases that nobody has met yet. The profile of mutants
(`tools/mutate.py`) does not look for the smallest case that fails. No case has a deadline: busy machines would miss it.
"""

import os

from hypothesis import Phase, settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("hunt", print_blob=True, deadline=None)
settings.register_profile(
    "mutants", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
