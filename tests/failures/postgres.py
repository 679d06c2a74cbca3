"""A PostgreSQL server of the tests' own: loopback, a password, and everything in one folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import optuna

USER, PASSWORD = "tokennas", "only loopback"
DEBIAN = Path("/usr/lib/postgresql")


def program(name):
    """Where a program of PostgreSQL is; Debian has those of the server beside the path."""
    found = shutil.which(name)
    return found or next((str(path) for path in sorted(DEBIAN.glob(f"*/bin/{name}"))), None)


class Server:
    """Made, started and stopped; the server refuses to run as root, so another user runs it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tokennas-postgres-"))
        self.data = self.folder / "data"
        self.port = free_port()
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self.user = []
        if os.geteuid() == 0:
            self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(self.folder, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        access = [f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256"]
        self._run("initdb", f"--pgdata={self.data}", *access)
        settings = f"listen_addresses='127.0.0.1'\nport={self.port}\n"
        settings += f"unix_socket_directories='{self.folder}'\n"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(settings)
        self.start()

    @property
    def url(self):
        password = PASSWORD.replace(" ", "%20")
        return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{self.port}/postgres"

    def start(self):
        self._control("start", f"--log={self.folder / 'log'}")

    def stop(self, mode="fast"):
        """Stop it; `immediate` is as a crash, from which the next start recovers."""
        self._control("stop", f"--mode={mode}")

    def remove(self):
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def identities(self, name):
        """Of the stored trials of a study, doubled ones too."""
        storage = optuna.storages.RDBStorage(self.url)
        try:
            if name not in optuna.get_all_study_names(storage):
                return []
            trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
            return [trial.user_attrs["identity"] for trial in trials]
        finally:
            storage.engine.dispose()

    def _control(self, *words):
        self._run("pg_ctl", *words, f"--pgdata={self.data}", "--wait", "--timeout=120", "--silent")

    def _run(self, name, *words):
        # The server keeps what it inherits open: a pipe would never end.
        with (self.folder / "said").open("a") as said:
            subprocess.run(
                [*self.user, program(name), *words],
                check=True,
                stdout=said,
                stderr=said,
                cwd=self.folder,
            )


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
