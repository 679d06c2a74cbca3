"""Stands in for `tokennas search`: says what it finds in the Ray that it is to use."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

words = sys.argv[1:]
ray.init(address=words[words.index("--search.ray.address") + 1], log_to_driver=False)
# After Ray, which has a handler of its own.
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))


@ray.remote(num_cpus=0)
def name():
    return os.environ["SLURMD_NODENAME"]


def alive():
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


while len(alive()) < int(os.environ["SLURM_JOB_NUM_NODES"]):
    time.sleep(0.2)
on = (NodeAffinitySchedulingStrategy(node, soft=False) for node in alive())
token = os.environ["RAY_AUTH_TOKEN"].encode()
found = {
    "words": words,
    "nodes": sorted(ray.get([name.options(scheduling_strategy=where).remote() for where in on])),
    "token on command lines": sum(token in read(p) for p in Path("/proc").glob("[0-9]*/cmdline")),
    "length of token": len(token),
}
Path("found.part").write_text(json.dumps(found))
Path("found.part").rename("found.json")
if "--wait" in words:
    time.sleep(100)
sys.exit(int(os.environ.get("TOY_CODE", "0")))
