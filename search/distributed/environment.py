"""Environment variables that Ray reads."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# For every process that imports Ray.
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints half a page for each dead worker; `Leases` counts them.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed|There are infinite retries",
}
# For Ray Tune and its trials.
TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Relative paths of evaluators are those of the user's working directory.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
# For a local Ray: it listens on the loopback interface alone. Its token is written nowhere; Ray
# would write one into the home folder.
OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard what Python and C++ code write to stderr within the block."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block, where they are not set already."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
