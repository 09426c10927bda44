#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nodectl flows` and `nodectl flows reset`: a connection that is older than its policy goes on until it
is cut, and the next one is captured (R5)."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from counted_origin import CountedOrigin  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402
from pod_scene import VIP, WEB_PORT, PodsCase  # noqa: E402

# One connection; a request for each line of input, and its status or what became of it.
TALK = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
connection.connect()
print("open", flush=True)
connection.auto_open = 0
for _ in sys.stdin:
    try:
        connection.request("GET", "/", headers={"Host": "web"})
        answer = connection.getresponse()
        answer.read()
        print(answer.status, flush=True)
    except (OSError, http.client.HTTPException) as error:
        print(type(error).__name__, flush=True)
"""


class Talk:
    """A connection from a pod that stays open."""

    def __init__(self, netns: str, address: str, port: int) -> None:
        command = in_netns(netns, [sys.executable, "-c", TALK, address, str(port)])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.hear() == "open"

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.hear()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Flows(PodsCase):
    NAME = "npflow"

    def talk(self, address: str, port: int) -> Talk:
        talk = Talk(self.client.netns, address, port)
        self.addCleanup(talk.close)
        return talk

    def flows(self) -> list[dict]:
        return json.loads(self.daemon.ctl("flows", "-o", "json").stdout)

    def test_an_older_connection_is_cut_only_when_asked(self) -> None:
        pod = self.host.routed_pod("web1", 21)
        origin = CountedOrigin("0.0.0.0", WEB_PORT, netns=pod.netns)
        self.addCleanup(origin.close)
        older = self.talk(pod.ipv4, WEB_PORT)
        self.assertEqual(older.ask(), "200")
        self.register(pod, "app=web,version=v1")
        self.assertEqual(older.ask(), "200", "it began before its policy")
        self.assertEqual(self.flows(), [])
        said = self.daemon.ctl("flows", "reset", "--for", "3s").stdout
        self.assertTrue(said.startswith("for 3s, connections that began before their policy are reset"), said)
        self.assertEqual(older.ask(), "ConnectionResetError")
        self.assertGreater(self.counter("midflow_reset"), 0)
        captured = self.talk(pod.ipv4, WEB_PORT)
        self.assertEqual(captured.ask(), "200")
        by_service = self.talk(VIP, 80)
        self.assertEqual(by_service.ask(), "200")
        self.assertEqual(captured.ask(), "200", "what is captured is not cut")
        wait_until(lambda: sum(flow["requests"] for flow in self.flows()) == 3, 5, "three requests")
        self.assertEqual([(flow["pod"], flow["dialled"], flow["state"], flow["requests"]) for flow in self.flows()],
                         [("default/client", f"{pod.ipv4}:{WEB_PORT}", "EST", 2), ("default/client", f"{VIP}:80", "EST", 1)])
        lines = self.daemon.ctl("flows").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["POD", "CLIENT", "DIALLED", "SERVICE", "STATE", "AGE", "SENT", "RECEIVED"])
        self.assertEqual(len(lines), 3)
        self.assertEqual(self.daemon.ctl("-n", "other", "flows").stdout, "")


class WithoutCapture(PodsCase):
    NAME = "npflon"

    def daemon_flags(self) -> list[str]:
        return ["--no-capture"]

    def test_there_is_nothing_to_reset(self) -> None:
        refused = self.daemon.ctl("flows", "reset", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--no-capture", refused.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
