"""Searches on a Ray that the user's program has started, which then still works.

python ray_of_a_user.py FOLDER
"""

import socket
import sys
import time
from pathlib import Path

import pytest
import ray
from ray.util import list_named_actors
from searching import search

from search.utils.resources import RayConfig
from space import InputError


def check_nothing_is_left():
    for _ in range(100):
        if not list_named_actors():
            return
        time.sleep(0.1)
    raise AssertionError(f"left behind: {list_named_actors()}")


def main(folder):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    before = ray.put("mine")
    for trials in (10, 14):
        search(folder, trials, workers=2)
        check_nothing_is_left()
    with socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = RayConfig(address=f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(InputError, match="to which this process is connected, got "):
            search(folder, 18, workers=2, ray=elsewhere)
    assert ray.is_initialized()
    assert ray.get(before) == "mine"
    assert ray.get(ray.remote(lambda: 4).remote()) == 4
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
