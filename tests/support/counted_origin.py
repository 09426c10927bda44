#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An origin that counts for itself: how many requests it has open at any instant, who came in which
order and on which connection. A process of its own, so that it can live in a pod and does not share
an interpreter with the clients; one thread per connection. As a script it is that process, which
takes commands as lines of JSON; CountedOrigin is the test's end of it."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from netns import Pod  # noqa: E402
from nodeproxy import in_netns  # noqa: E402

HEAD_BYTES_MAX = 65536


class Counts:
    """What the threads share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.mode = {"status": 200, "hold": 0.0, "fill": 0, "gate": False, "close": False, "echo": False,
                     "pad": 0}
        self.passes = 0  # requests that the gate lets go
        self.connections = 0
        self.forget()

    def forget(self) -> None:
        self.now = self.most = 0
        self.most_connections = self.now_connections = 0
        self.requests: list[dict[str, object]] = []
        self.closed: list[dict[str, object]] = []

    def report(self) -> dict[str, object]:
        return {
            "now": self.now,
            "most": self.most,
            "now_connections": self.now_connections,
            "most_connections": self.most_connections,
            "requests": self.requests,
            "closed": self.closed,
        }


def is_gone(sock: socket.socket) -> bool:
    """The peer has ended the connection: nothing else may be readable while an answer is owed."""
    if not select.select([sock], [], [], 0)[0]:
        return False
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


class Worker:
    """One connection."""

    def __init__(self, counts: Counts, sock: socket.socket, number: int) -> None:
        self.counts = counts
        self.sock = sock
        self.number = number
        self.buffer = b""

    def head(self) -> str | None:
        while b"\r\n\r\n" not in self.buffer:
            data = self.sock.recv(HEAD_BYTES_MAX)
            if not data:
                return None
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def begin(self, target: str) -> dict[str, object]:
        with self.counts.lock:
            self.counts.now += 1
            self.counts.most = max(self.counts.most, self.counts.now)
            peer = self.sock.getpeername()[0]
            seen = {"target": target, "connection": self.number, "peer": peer, "at": time.monotonic()}
            self.counts.requests.append(seen)
            self.counts.changed.notify_all()
            return dict(self.counts.mode)

    def end(self) -> None:
        with self.counts.lock:
            self.counts.now -= 1

    def may_go(self, mode: dict[str, object]) -> bool:
        """Waits as the mode says; false when the peer left meanwhile."""
        while self.counts.most < int(str(mode["fill"])):
            with self.counts.lock:
                if self.counts.most < int(str(mode["fill"])):
                    self.counts.changed.wait(0.02)
            if is_gone(self.sock):
                return False
        until = time.monotonic() + float(str(mode["hold"]))
        while time.monotonic() < until:
            time.sleep(min(0.02, max(0.0, until - time.monotonic())))
            if is_gone(self.sock):
                return False
        while mode["gate"]:
            with self.counts.lock:
                if self.counts.passes > 0:
                    self.counts.passes -= 1
                    return True
                self.counts.changed.wait(0.02)
            if is_gone(self.sock):
                return False
        return True

    def serve(self) -> None:
        while (head := self.head()) is not None:
            mode = self.begin(head.split(" ")[1])
            goes = self.may_go(mode)
            self.end()  # before the answer: whoever gets it may send the next request at once
            if not goes:
                return
            body = f"status {mode['status']}\n" + "x" * int(str(mode["pad"]))
            close = "Connection: close\r\n" if mode["close"] else ""
            answer = f"HTTP/1.1 {mode['status']} X\r\nContent-Length: {len(body)}\r\n{close}\r\n{body}"
            self.sock.sendall(answer.encode())
            if mode["close"]:
                return

    def echo(self) -> None:
        while data := self.sock.recv(HEAD_BYTES_MAX):
            self.sock.sendall(data)

    def run(self) -> None:
        how = "fin"
        try:
            if self.counts.mode["echo"]:
                self.echo()
            else:
                self.serve()
        except OSError as error:
            how = type(error).__name__
        self.sock.close()
        with self.counts.lock:
            self.counts.now_connections -= 1
            self.counts.closed.append({"connection": self.number, "how": how, "at": time.monotonic()})


def accept_all(counts: Counts, listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with counts.lock:
            counts.connections += 1
            number = counts.connections
            counts.now_connections += 1
            counts.most_connections = max(counts.most_connections, counts.now_connections)
        threading.Thread(target=Worker(counts, sock, number).run, daemon=True).start()


def obey(counts: Counts, command: dict[str, object]) -> dict[str, object]:
    with counts.lock:
        if command["do"] == "set":
            counts.mode.update(command["mode"])  # type: ignore[arg-type]
            counts.passes = 0
            counts.changed.notify_all()
        elif command["do"] == "pass":
            counts.passes += int(str(command["count"]))
            counts.changed.notify_all()
        elif command["do"] == "forget":
            counts.forget()
        return counts.report()


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1024)
    counts = Counts()
    threading.Thread(target=accept_all, args=[counts, listener], daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(counts, json.loads(line))), flush=True)


class CountedOrigin:
    def __init__(self, address: str = "127.0.0.1", port: int = 0, netns: str | None = None,
                 **mode: object) -> None:
        command = [sys.executable, "-B", str(Path(__file__).resolve()), address, str(port)]
        self.address = address
        self.pod: Pod | None = None
        self._process = subprocess.Popen(in_netns(netns, command), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        self.port = int(self._answer()["port"])
        self.set(**mode)

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the counted origin has ended")
        return json.loads(line)

    def _tell(self, **command: object) -> dict:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def set(self, **mode: object) -> None:
        """`status`; `hold` in seconds; `fill`: no answer before that many requests were open at once,
        so that a peak does not depend on who is fast; `gate`: each answer waits for let_go(); `close`:
        after each answer; `echo`: opaque bytes, for connections made from now on; `pad`: bytes more."""
        self._tell(do="set", mode=mode)

    def let_go(self, count: int = 1) -> None:
        self._tell(do="pass", count=count)

    def forget(self) -> None:
        """Counts from zero; only while no request is open."""
        self._tell(do="forget")

    def report(self) -> dict:
        return self._tell(do="report")

    def targets(self) -> list[str]:
        return [str(one["target"]) for one in self.report()["requests"]]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    main()
