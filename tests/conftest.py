"""What holds for the whole suite."""

from hypothesis import settings

settings.register_profile(
    "minbuild", deadline=None, database=None
)  # no timed assertions: machines differ
settings.load_profile("minbuild")
