#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What happens when processes die, hang or start again, end to end. Test names carry the rule of
docs/capture.md that they show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import WEB_V4, CaptureCase  # noqa: E402
from kept import Kept, connect_ms  # noqa: E402
from nodeproxy import finish_load, start_load, wait_until  # noqa: E402

class Availability(CaptureCase):
    NAME = "npavail"
    FLAGS = ("--watchdog", "0s")  # a stopped worker stays

    def setUp(self) -> None:
        super().setUp()
        self.add_pods()
        self.serve("v1")

    def kept(self, address: str = WEB_V4, port: int = 80) -> Kept:
        client = Kept(self.client.netns, address, port)
        self.addCleanup(client.close)
        return client

    def kill_both(self) -> None:
        """Supervisor first: it must not start another worker. The worker is stopped meanwhile, because it would
        drain in order when it sees its supervisor go."""
        worker = self.daemon.worker_pid()
        assert self.daemon.process is not None
        os.kill(worker, signal.SIGSTOP)
        self.daemon.process.kill()
        os.kill(worker, signal.SIGKILL)
        self.daemon.process.wait()
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), 3, "the worker is gone")

    def links(self) -> list[int]:
        done = subprocess.run(["bpftool", "-j", "link", "show"], capture_output=True, text=True, check=True)
        pins = Path(f"/sys/fs/bpf/{self.NAME}/v1/links")
        self.assertTrue(json.loads(done.stdout))
        return sorted(path.stat().st_ino for path in pins.iterdir())

    def programs_on(self, device: str) -> int:
        done = subprocess.run(["bpftool", "-j", "prog", "show", "name", "np_pod_in"], capture_output=True, text=True,
                              check=False)
        shown = json.loads(done.stdout or "[]")
        return len(shown) if isinstance(shown, list) else 1

    # ---- the worker dies -------------------------------------------------------------------------

    def test_r31_killed_worker_resets_its_clients_and_refuses_nobody(self) -> None:
        client = start_load(f"{WEB_V4}:80", "-c", "16", "--rate", "500", "--duration", "5", "--host", "web",
                            netns=self.client.netns)
        kept = self.kept()
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        time.sleep(1)
        self.daemon.kill_worker()
        killed = time.monotonic()
        self.assertEqual(kept.get(), "ConnectionResetError", "RST, never a clean end")
        wait_until(lambda: self.client.curl(f"http://{WEB_V4}/", seconds=1) == "v1\n 200", 1.0, "served within 1 s", 0.02)
        recovered = (time.monotonic() - killed) * 1000
        report = finish_load(client)
        print(f"served again after {recovered:.0f} ms; {report['status']}, {report['errors']}")
        self.assertEqual(report["errors"]["connect"], 0)
        self.assertEqual(report["errors"]["truncated"] + report["errors"]["unanswered_close"], 0)
        self.assertEqual(list(report["status"]), ["200"])
        self.assertEqual(self.stats()["failopen"], 0, "nobody went direct while the worker was started again")

    def test_r35_a_hung_worker_lets_new_connections_go_direct(self) -> None:
        self.daemon.apply(DIRECT.format(fail_mode="open"))
        pod = self.web["v2"]
        self.assertEqual(self.client.curl(f"http://{pod.ipv4}:8080/"), "v1\n 200", "captured: the route decides")
        os.kill(self.daemon.worker_pid(), signal.SIGSTOP)
        try:
            wait_until(lambda: self.client.curl(f"http://{pod.ipv4}:8080/", seconds=1) == "v2\n 200", 3,
                       "direct after the heartbeat timeout of 1 s", 0.1)
        finally:
            os.kill(self.daemon.worker_pid(), signal.SIGCONT)
        wait_until(lambda: self.client.curl(f"http://{pod.ipv4}:8080/", seconds=1) == "v1\n 200", 5, "captured again")
        self.assertGreater(self.stats()["stale_hb"], 0)

    # ---- both die --------------------------------------------------------------------------------

    def test_r35_both_dead_open_destinations_connect_directly(self) -> None:
        pod = self.web["v2"]
        self.assertEqual(self.client.curl(f"http://{pod.ipv4}:8080/"), "v1\n 200")
        kept = self.kept(pod.ipv4, 8080)
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        self.kill_both()
        how, took = connect_ms(self.client, pod.ipv4, 8080)
        print(f"both dead, open: {how} after {took:.2f} ms")
        self.assertEqual(how, "connected")
        self.assertLess(took, 500, "no timeout, no repeated SYN")
        self.assertEqual(self.client.curl(f"http://{pod.ipv4}:8080/"), "v2\n 200")
        # R36: the captured connection is reset; its segments never reach the backend.
        self.assertEqual(kept.get(), "ConnectionResetError")
        self.assertGreater(self.stats()["failopen"], 0)

    def test_r35_r37_both_dead_closed_destinations_are_refused_at_once(self) -> None:
        self.serve("v1", fail_mode="closed")
        self.kill_both()
        for address in (WEB_V4, "fd00:96::10", self.web["v2"].ipv4):
            port = 8080 if address == self.web["v2"].ipv4 else 80
            how, took = connect_ms(self.client, address, port)
            print(f"both dead, closed, {address}: {how} after {took:.2f} ms")
            self.assertEqual(how, "ConnectionRefusedError")
            self.assertLess(took, 500)
        self.assertGreater(self.stats()["failclosed"], 0)

    def test_r39_a_second_start_takes_over_pins_and_state(self) -> None:
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        links, programs = self.links(), self.programs_on(self.client.veth)
        flows = len(self.flows())
        self.kill_both()
        self.daemon.start()
        wait_until(lambda: self.client.curl(f"http://{WEB_V4}/", seconds=1) == "v1\n 200", 5, "served after the restart")
        self.assertEqual(len(self.links()), len(links), "no second link")
        self.assertEqual(self.programs_on(self.client.veth), programs, "no second program")
        self.assertGreaterEqual(len(self.flows()), flows, "records of the first run are kept")
        self.assertIn("web", self.daemon.ctl("get", "virtualservice").stdout, "objects survived")
        self.assertIn("captured", self.daemon.ctl("pod", "list").stdout)

    def test_r42_a_pod_that_appeared_meanwhile_is_found_and_the_gap_is_told(self) -> None:
        before = self.daemon.ctl("pod", "list", "-o", "json").stdout
        self.assertIn("captured_since", before)
        self.daemon.stop()
        self.daemon.start()
        late = self.host.routed_pod("late", 31)
        self.add_pod(late, "app=late")
        self.assertEqual(late.curl(f"http://{WEB_V4}/"), "v1\n 200")
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200", "captured again after an orderly stop")

    def test_r40_a_vanished_interface_is_reported_and_its_pin_swept(self) -> None:
        pod = self.web["v2"]
        self.host.run("ip", "link", "delete", pod.veth)
        wait_until(lambda: "captured\n" not in self.pod_line(pod.name), 10, "pod list says the interface is gone")
        self.daemon.stop()
        self.daemon.start()
        others = [p for p in self.host.pods if p != pod]
        self.assertEqual(len(self.links()), 2 * len(others) + 2, "both sides of each, np0, the namespace")

    def pod_line(self, name: str) -> str:
        lines = [line for line in self.daemon.ctl("pod", "list").stdout.splitlines(True) if f" {name} " in line]
        return lines[0] if lines else ""

    # ---- orderly end -----------------------------------------------------------------------------

    def test_sigterm_drains_and_detach_gives_the_node_back(self) -> None:
        kept = self.kept()
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        self.daemon.ctl("detach", "--all")
        self.assertEqual(self.client.curl(f"http://{self.web['v2'].ipv4}:8080/"), "v2\n 200", "no longer captured")
        assert self.daemon.process is not None
        self.assertEqual(self.daemon.stop(), 0)
        links = Path(f"/sys/fs/bpf/{self.NAME}/v1/links")
        self.assertEqual(list(links.iterdir()) if links.exists() else [], [])


DIRECT = """
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {{nodeproxy.dev/fail-mode: {fail_mode}}}
spec:
  selector: {{app: web}}
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""


if __name__ == "__main__":
    unittest.main(verbosity=2)
