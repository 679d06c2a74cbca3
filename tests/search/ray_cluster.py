"""A Ray cluster of several nodes on the loopback interface, each a process of its own."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

STARTS_IN = 60
# For 127.0.0.1 Ray would take the machine's own address.
HOSTS = "127.0.0.{}"


class Cluster:
    """A head and nodes that join and leave; all of it ends with the `with` block.

    Args:
        cpus: of the head.
        token: that Ray asks of whoever joins; None for no authentication.
        environ: variables of all processes.
    """

    def __init__(self, cpus=0, token=None, environ=None):
        self._cpus = cpus
        self._environ = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | (environ or {})
        if token is not None:
            self._environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        # The paths of sockets must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="tn-"))
        self._hosts = count(2)
        self.nodes = []

    def __enter__(self):
        self.head = self._start(
            "--head", "--port=0", f"--num-cpus={self._cpus}", "--include-dashboard=false",
            f"--temp-dir={self._folder}",
        )  # fmt: skip
        self.address = self._address()
        return self

    def __exit__(self, *_):
        for process in [*self.nodes, self.head]:
            kill_tree(process.pid)
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def join(self, cpus=2, prefix=(), **options):
        """A node more, which is there on return; `prefix` is a command that starts it."""
        words = [f"--{key}={value}" for key, value in options.items()]
        node = self._start(f"--address={self.address}", f"--num-cpus={cpus}", *words, prefix=prefix)
        self.nodes.append(node)
        return node

    def kill(self, node):
        """Kill a whole node at once: its raylet and all that it has started."""
        kill_tree(node.pid)
        node.wait()
        self.nodes.remove(node)

    def _start(self, *words, prefix=()):
        ray = Path(sys.executable).with_name("ray")
        host = HOSTS.format(next(self._hosts))
        command = [*prefix, ray, "start", "--block", f"--node-ip-address={host}", *words]
        said = self._folder / f"{host}.txt"
        with said.open("w") as output:
            process = subprocess.Popen(
                command,
                env=self._environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        ends = time.monotonic() + STARTS_IN
        while "Ray runtime started" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < ends, "the node did not start"
            time.sleep(0.1)
        return process

    def _address(self):
        """Where the head listens, which it writes down: the file is there before its text is."""
        file = self._folder / "ray_current_cluster"
        ends = time.monotonic() + STARTS_IN
        while not (address := file.read_text().strip() if file.exists() else ""):
            assert time.monotonic() < ends, "the head did not say where it listens"
            time.sleep(0.1)
        return address


def new_token():
    return secrets.token_hex(32)


def children_of(pid):
    """All processes that a process has started, and those that they have."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    found, todo = [], [pid]
    while todo:
        new = parents.get(todo.pop(), [])
        found += new
        todo += new
    return found


def kill_tree(pid):
    """Stop a process and all below it, so that none can start another, then kill them."""
    tree = [pid, *children_of(pid)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for each in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
