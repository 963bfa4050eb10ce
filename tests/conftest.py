"""Property tests look at the same examples each time, so that a failure speaks of the change that it came with.

`pytest --hypothesis-profile=searching tests/property` looks at others in each run: a search for what nobody knows yet.
"""

from hypothesis import settings

# No deadline: a machine that stands still for a moment proves nothing about the code.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("searching", deadline=None)
settings.load_profile("fixed")
