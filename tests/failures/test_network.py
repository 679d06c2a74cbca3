"""What a search with workers opens on the network, and to whom."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray_cluster import children_of
from searching import search

from search.distributed.ray_api import LOCAL_ENV

pytestmark = pytest.mark.cluster

TESTS = Path(__file__).parent.parent
LISTENS = "0A"
JOIN = """
import logging, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    paths = os.pathsep.join([str(TESTS / "search"), str(TESTS / "space")])
    monkeypatch.setenv("PYTHONPATH", paths)


def listening(pids):
    """Addresses and ports on which processes listen."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and words[9] in sockets:
                address, port = words[1].split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text):
    """As the kernel shows it: words of four bytes, each the wrong way round."""
    raw = bytes.fromhex(text)
    turned = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    address = ipaddress.ip_address(turned)
    return getattr(address, "ipv4_mapped", None) or address


def joins(address, token):
    """Whether a process with this token gets into a Ray."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # With the last one 127.0.0.1 is not taken for the machine's own address.
    environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", JOIN, address],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(timeout=120) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def test_our_own_ray_listens_to_this_machine_alone_and_asks_for_a_token(tmp_path):
    seen, joined = set(), {}
    # A Ray that its user has started may have left one.
    file = Path.home() / ".ray" / "auth_token"
    before = file.exists() and file.read_bytes()

    def look(progress):
        import ray  # noqa: PLC0415

        if progress.workers and not joined:
            seen.update(listening([os.getpid(), *children_of(os.getpid())]))
            address = ray.get_runtime_context().gcs_address
            for token in (LOCAL_ENV["RAY_AUTH_TOKEN"], "0" * 64):
                joined[token] = joins(address, token)

    search(tmp_path, 20, workers=1, seconds=0.2, on_event=look)
    assert len(seen) >= 3, "the raylet, the workers and the GCS"
    assert [place for place in seen if not place[0].is_loopback] == []
    assert joined == {LOCAL_ENV["RAY_AUTH_TOKEN"]: True, "0" * 64: False}
    assert (file.exists() and file.read_bytes()) == before
