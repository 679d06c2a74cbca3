"""A connection to PostgreSQL that breaks where a test wants it to: after a commit, unanswered."""

import socket
import threading

# A simple query as it goes over the wire: its kind, its length, its text.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Proxy:
    """Passes bytes between clients and a server; swallows the answers to some commits.

    Args:
        port: of the server, on loopback.
        breaks: numbers of the commits, counted over all connections, whose answer is lost.
    """

    def __init__(self, port, breaks):
        self.server, self.breaks = port, set(breaks)
        self.commits, self.failed_workers = 0, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listening.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server))
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _ask(self, client, server):
        for data in _received(client):
            if COMMIT in data:
                self.commits += 1
                if self.commits in self.breaks:
                    self.failed_workers += 1
                    # Nothing reaches the client any more, while the server goes on and commits.
                    client.shutdown(socket.SHUT_RDWR)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    def _answer(self, client, server):
        try:
            for data in _received(server):
                client.sendall(data)
        except OSError:
            list(_received(server))
        client.close()


def _received(source):
    try:
        while data := source.recv(1 << 16):
            yield data
    except OSError:
        return
