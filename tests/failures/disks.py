"""Disks that are full or may only be read, in a mount namespace that no other process sees."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Says so once it has mounted, and keeps the namespace until nobody writes to it any more.
MOUNT = 'mount -t tmpfs -o "$1" tmpfs "$0" && echo && exec cat'


class Disk:
    """A file system of its own at a folder.

    Commands see it that are started with `before`; from here it is at `path`.

    Args:
        folder: where it is mounted, empty.
        size: bytes that it holds.
    """

    def __init__(self, folder, size):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._keeper = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", MOUNT, str(folder), f"size={size}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if not self._keeper.stdout.readline():
            reason = self._keeper.stderr.read().decode().strip()
            self.close()
            pytest.skip(f"nothing may be mounted here: {reason}")

    @property
    def before(self):
        return ["nsenter", "-t", str(self._keeper.pid), "-m"]

    @property
    def path(self):
        return Path(f"/proc/{self._keeper.pid}/root") / self.folder.relative_to("/")

    def remount(self, options):
        """With another size, or for reading only (`ro`) and for all again (`rw`)."""
        mount = ["mount", "-o", f"remount,{options}", str(self.folder)]
        subprocess.run([*self.before, *mount], check=True)

    def used(self):
        """Bytes that are taken."""
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def fill(self, source, without):
        """Copy what lies in a folder onto it, apart from some of that."""

        def left_out(folder, _):
            return without if folder == str(source) else ()

        shutil.copytree(source, self.path, ignore=left_out, dirs_exist_ok=True)

    def close(self):
        self._keeper.stdin.close()
        self._keeper.wait(timeout=60)
        self._keeper.stdout.close()
        self._keeper.stderr.close()
