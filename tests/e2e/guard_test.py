#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The admission guard of an uplink, end to end: a real daemon, a veth that plays the uplink, curl as good
client, and as many bad SYNs as one core can make."""

from __future__ import annotations

import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

import doctor  # noqa: E402
from guard_scene import (BAD_SOURCES, CLIENT_V4, NODE_V4, NODE_V6, OTHER_V4, PORT, UPLINK,  # noqa: E402
                         GuardScene)
from kept import Kept  # noqa: E402
from netns import ip  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402
from tc_programs import PROG_TYPE_XDP, pinned_classifier  # noqa: E402

MODES = {"native": "native", "generic": "generic", "tc": "tcx"}
HOLDING_CLIENT = """
import socket, sys
held = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) for _ in range(int(sys.argv[3]))]
print('held', flush=True)
sys.stdin.readline()
"""


class GuardCase(unittest.TestCase):
    NAME = "npguard"
    FLAGS: tuple[str, ...] = ()
    THROUGH: tuple[str, ...] = ()
    WORKERS = "1"

    def setUp(self) -> None:
        self.scene = GuardScene(self.NAME, *self.FLAGS, through=self.THROUGH, workers=self.WORKERS)
        self.addCleanup(self.scene.close)
        self.scene.__enter__()
        self.assertEqual(self.scene.curl(), "200")

    def kept(self) -> Kept:
        client = Kept(self.scene.outside, NODE_V4, PORT)
        self.addCleanup(client.close)
        return client

    def kill_supervisor(self) -> None:
        """Its worker ends when it finds itself alone."""
        worker = Path(f"/proc/{self.scene.daemon.worker_pid()}")
        self.scene.daemon.stop(signal.SIGKILL)
        wait_until(lambda: not worker.exists(), 10, "the worker ends")


class Rules(GuardCase):
    def test_each_mode_denies_limits_and_counts(self) -> None:
        scene = self.scene
        scene.guard("deny", "add", f"{OTHER_V4}/32", BAD_SOURCES)
        for mode, hook in MODES.items():
            with self.subTest(mode):
                scene.guard("attach", UPLINK, "--mode", mode)
                self.assertEqual(scene.hook(), hook)
                self.expect_denial()
                self.expect_limit()
                counters = scene.status()["counters"]
                self.assertEqual(counters, scene.kernel_counters(), "nodectl and bpftool say the same")
                self.assertEqual(scene.daemon.status()["counters"]["guard_drop_denied"], counters["drop_denied"])
        scene.guard("detach", UPLINK)
        self.assertEqual(scene.hook(), "")
        self.assertEqual(scene.curl("http://192.0.2.1:8080/", "--interface", OTHER_V4), "200")
        self.assertNotIn("xdp", ip("-d", "link", "show", UPLINK, netns=scene.host.netns))

    def expect_denial(self) -> None:
        scene = self.scene
        with scene.counting() as rise:
            self.assertEqual(scene.curl(f"http://{NODE_V4}:{PORT}/", "--interface", OTHER_V4, seconds=1), "000")
            self.assertEqual(scene.curl(f"http://{NODE_V4}:{PORT}/", "--interface", CLIENT_V4), "200")
            self.assertEqual(scene.curl(f"http://[{NODE_V6}]:{PORT}/"), "200")
        self.assertGreaterEqual(rise["drop_denied"], 1)
        self.assertGreater(rise["pass_segment"], 0)
        with scene.counting() as rise:
            sent = scene.flood(0.5)
            self.assertEqual(scene.curl(), "200")
        self.assertGreater(sent["sent"], 1000)
        self.assertGreaterEqual(rise["drop_denied"], sent["sent"] * 99 // 100, sent)

    def expect_limit(self) -> None:
        """Of a port that is not the gateway's, so that what happens there is the host's."""
        scene = self.scene
        scene.guard("limit", f"{NODE_V4}:9", "1000/100")
        scene.guard("deny", "del", BAD_SOURCES)
        with scene.counting() as rise:
            sent = scene.flood(1.0, port=9)
            self.assertEqual(scene.curl(), "200", "another destination's flood")
        allowed = 100 + 1000 * sent["seconds"]
        used = scene.destination(f"{NODE_V4}:9")
        self.assertLessEqual(used["passed"], allowed + 1, sent)
        self.assertGreaterEqual(used["passed"], allowed * 0.7, sent)
        self.assertEqual(used["limited"], rise["drop_limited"])
        scene.guard("limit", f"{NODE_V4}:9", "none")
        scene.guard("deny", "add", BAD_SOURCES)

    def test_kept_connections_pass_while_new_ones_are_limited(self) -> None:
        scene = self.scene
        scene.guard("attach", UPLINK)
        kept = self.kept()
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        scene.guard("limit", f"*:{PORT}", "1/1")
        self.assertEqual(scene.curl(), "200")
        self.assertEqual(scene.curl(seconds=0.5), "000", "the token is spent")
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        self.assertEqual(scene.curl(f"http://[{NODE_V6}]:{PORT}/"), "200", "a bucket of its own")
        self.assertEqual(scene.curl(seconds=5), "200", "its second SYN finds one")

    def test_every_address_of_this_node_is_no_pods_address(self) -> None:
        scene = self.scene
        pod, server = scene.pod_with_server()
        self.addCleanup(server.close)
        scene.guard("limit", f"*:{PORT}", "1/1")
        for mode in MODES:
            scene.guard("attach", UPLINK, "--mode", mode)
            for _ in range(3):
                self.assertEqual(scene.curl(f"http://{pod.ipv4}:{PORT}/"), "200", "forwarded: not of this node")


class Interfaces(GuardCase):
    def test_displaces_nobody_and_offers_tc(self) -> None:
        scene = self.scene
        with pinned_classifier(self.NAME, PROG_TYPE_XDP) as pin:
            done = scene.host.run("ip", "link", "set", "dev", UPLINK, "xdpgeneric", "pinned", pin)
            self.assertEqual(done.returncode, 0, done.stderr)
            for flags in ((), ("--mode", "native"), ("--mode", "generic")):
                refused = scene.guard("attach", UPLINK, *flags, check=False)
                self.assertEqual(refused.returncode, 1)
                self.assertRegex(refused.stderr, r"other \(program \d+, generic\)")
                self.assertIn("--mode tc", refused.stderr)
            self.assertEqual(scene.hook(), "")
            scene.guard("attach", UPLINK, "--mode", "tc")
            scene.guard("deny", "add", OTHER_V4)
            self.assertEqual(scene.curl(f"http://{NODE_V4}:{PORT}/", "--interface", OTHER_V4, seconds=1), "000")
            self.assertEqual(scene.curl(), "200")
            self.assertIn("xdpgeneric", ip("link", "show", UPLINK, netns=scene.host.netns))

    def test_never_on_a_pods_interface(self) -> None:
        scene = self.scene
        pod = scene.host.routed_pod("pod", 31)
        add = ("pod", "add", pod.name, "--ip", pod.ipv4, "--ifname")
        scene.daemon.ctl(*add, pod.veth)
        for ifname, why in ((pod.veth, "the interface of pod default/pod"), ("nowhere", "no such interface"),
                            ("lo", "no Ethernet device"), (f"np0-{self.NAME}", "the proxy's own namespace")):
            refused = scene.guard("attach", ifname, check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(why, refused.stderr)
        scene.daemon.ctl("pod", "remove", pod.name)
        scene.guard("attach", UPLINK)
        refused = scene.daemon.ctl(*add, UPLINK, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("admission guard", refused.stderr)

    def test_outlives_worker_supervisor_and_comes_back(self) -> None:
        scene, daemon = self.scene, self.scene.daemon
        denied = (f"http://{NODE_V4}:{PORT}/", "--interface", OTHER_V4)
        scene.guard("attach", UPLINK)
        scene.guard("deny", "add", OTHER_V4)
        scene.guard("limit", f"{NODE_V4}:9", "1000/7")
        scene.flood(0.2, port=9)
        before = scene.destination(f"{NODE_V4}:9")
        self.assertGreater(before["limited"], 0)
        killed = daemon.kill_worker()
        wait_until(lambda: daemon.has_new_worker(killed), 10, "another worker")
        daemon.wait_ready()
        self.assertEqual(scene.hook(), "native")
        self.assertEqual(scene.destination(f"{NODE_V4}:9"), before, "tokens and counters stay")
        self.assertEqual((scene.curl(*denied, seconds=1), scene.curl()), ("000", "200"))
        self.kill_supervisor()
        with scene.counting() as rise:
            scene.curl(*denied, seconds=1)
        self.assertGreater(rise["drop_denied"], 0, "nobody runs, and it still denies")
        daemon.start()
        self.assertEqual(scene.hook(), "native")
        self.assertEqual(scene.status()["denied"], [f"{OTHER_V4}/32"])
        self.assertEqual(scene.destination(f"{NODE_V4}:9"), before)
        self.assertEqual((scene.curl(*denied, seconds=1), scene.curl()), ("000", "200"))

    def test_doctor_tells_and_detach_all_removes_it(self) -> None:
        scene = self.scene
        for mode in MODES:
            scene.guard("attach", UPLINK, "--mode", mode)
            report = doctor.ask(scene.daemon)
            self.assertEqual([check["subject"] for check in report.checks if check["area"] == "guard"], [UPLINK])
            self.assertEqual(report.bad("guard"), [])
            self.assertEqual(report.bad("pins"), [])
        scene.guard("attach", UPLINK, "--mode", "native")
        scene.daemon.ctl("detach", "--all")
        self.assertNotIn("xdp", ip("-d", "link", "show", UPLINK, netns=scene.host.netns))
        self.assertEqual(scene.status()["interfaces"], [])
        scene.daemon.stop()
        scene.daemon.start()
        self.assertEqual(scene.status()["interfaces"], [], "it stays off")


class Overload(GuardCase):
    """With so few descriptors that the limit of connections, which derives from them, can be reached."""

    DESCRIPTORS = 400
    THROUGH = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
    HELD = DESCRIPTORS // 2 * 15 // 16

    def hold(self) -> subprocess.Popen[str]:
        command = in_netns(self.scene.outside, [sys.executable, "-c", HOLDING_CLIENT, NODE_V4, str(PORT),
                                                str(self.HELD)])
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (holder.kill(), holder.communicate()))
        assert holder.stdout
        self.assertEqual(holder.stdout.readline().strip(), "held")
        return holder

    def is_overloaded(self) -> bool:
        probe = self.scene.host.run("curl", "-s", "-m", "1", "http://127.0.0.1:15190/readyz").stdout
        return "overloaded" in probe

    def test_sheds_new_connections_at_the_uplink_while_the_daemon_is_overloaded(self) -> None:
        scene = self.scene
        scene.guard("attach", UPLINK)
        exposed = scene.destination(f"0.0.0.0:{PORT}")
        self.assertEqual((exposed["origin"], exposed["rate"], exposed["sheds"]), ("listener", 0, True))
        kept = self.kept()
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        holder = self.hold()
        wait_until(self.is_overloaded, 5, "the daemon says that it is overloaded")
        with scene.counting() as rise:
            self.assertEqual(scene.curl(seconds=1.5), "000")
            self.assertEqual(kept.get(), "HTTP/1.1 200 OK", "existing connections are unaffected")
        self.assertGreaterEqual(rise["drop_overload"], 1)
        scene.guard("limit", f"*:{PORT}", "0", "--keep")
        with scene.counting() as rise:
            scene.curl(seconds=0.5)
        self.assertEqual((rise["drop_overload"], rise["pass_syn"] > 0), (0, True), "it was asked to keep them")
        scene.guard("limit", f"*:{PORT}", "none")
        holder.communicate("\n")
        wait_until(lambda: not self.is_overloaded(), 10, "the overload ends")
        self.assertEqual(scene.curl(), "200")


class Clsact(GuardCase):
    FLAGS = ("--hook", "clsact")

    def test_tc_fallback_without_tcx(self) -> None:
        scene = self.scene
        scene.guard("deny", "add", OTHER_V4)
        scene.guard("attach", UPLINK, "--mode", "tc")
        self.assertEqual(scene.hook(), "clsact")
        denied = (f"http://{NODE_V4}:{PORT}/", "--interface", OTHER_V4)
        self.assertEqual((scene.curl(*denied, seconds=1), scene.curl()), ("000", "200"))
        self.kill_supervisor()
        scene.daemon.start()
        self.assertEqual(scene.hook(), "clsact")
        self.assertEqual(doctor.ask(scene.daemon).bad("guard"), [])
        scene.daemon.ctl("detach", "--all")
        self.assertEqual(scene.host.run("tc", "filter", "show", "dev", UPLINK, "ingress").stdout.strip(), "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
