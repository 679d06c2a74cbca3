"""Searches on a Ray that the user's program has started, which then still works.

python ray_of_a_user.py FOLDER
"""

import sys
from pathlib import Path

import ray
from searching import search


def main(folder):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    before = ray.put("mine")
    for trials in (10, 14):
        search(folder, trials, workers=2)
    assert ray.is_initialized()
    assert ray.get(before) == "mine"
    assert ray.get(ray.remote(lambda: 4).remote()) == 4
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
