"""A wall clock that steps back by an hour, at the start and once more when a file appears.

Python imports this by itself where its folder is on PYTHONPATH. Monotonic clocks go on, as they do
when somebody sets the clock of a machine.
"""

import datetime
import os
import sys
import time

STEP = 3600.0

_time, _time_ns = time.time, time.time_ns
_file = os.environ["CLOCK_STEPS_WITH"]


def behind():
    return 2 * STEP if os.path.exists(_file) else STEP  # noqa: PTH110 - pathlib is not loaded yet


class Stepping(datetime.datetime):
    # Of the size of its base: extensions in C look at that.
    __slots__ = ()

    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(seconds=behind())


time.time = lambda: _time() - behind()
time.time_ns = lambda: _time_ns() - int(behind() * 1e9)
# What Ray's workers load in C crashes over another class.
if not any(word.endswith("default_worker.py") for word in sys.orig_argv):
    datetime.datetime = Stepping
