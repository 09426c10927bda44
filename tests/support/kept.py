# SPDX-License-Identifier: Apache-2.0
"""Client connections from inside a pod: one that a test keeps, and attempts with the time they took."""

from __future__ import annotations

import subprocess
import sys

from netns import Pod
from nodeproxy import in_netns

# Prints the first line of each answer, or how it ended.
KEPT_CLIENT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
for line in sys.stdin:
    try:
        s.sendall(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')
        data = s.recv(65536)
        print(data.split(b'\\r\\n')[0].decode() if data else 'EOF', flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class Kept:
    """A kept client connection inside a pod."""

    def __init__(self, netns: str, address: str, port: int) -> None:
        self.process = subprocess.Popen(in_netns(netns, [sys.executable, "-c", KEPT_CLIENT, address, str(port)]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def get(self) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


CONNECT = """
import socket, sys, time
t = time.monotonic()
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
    how = 'connected'
except OSError as error:
    how = type(error).__name__
print(how, (time.monotonic() - t) * 1000)
"""


def connect_ms(pod: Pod, address: str, port: int) -> tuple[str, float]:
    """How a connection attempt from the pod ended, and after how many milliseconds."""
    how, took = pod.run(sys.executable, "-c", CONNECT, address, str(port)).stdout.split()
    return how, float(took)
