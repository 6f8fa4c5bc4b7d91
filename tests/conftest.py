"""What holds for the whole suite."""

import signal

from hypothesis import settings

# no timed assertions, machines differ; no database, a checkout may be read-only
settings.register_profile("minbuild", deadline=None, database=None)
settings.load_profile("minbuild")

# a shell's background job ignores Ctrl-C, and so would every program that a test interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)
