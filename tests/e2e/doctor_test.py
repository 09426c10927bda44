#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nodectl doctor` on a real node: each fault is brought about, told with its remedy, and gone after the
commands that it shows were typed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

import doctor  # noqa: E402
from capture_case import WEB_V4, CaptureCase  # noqa: E402
from netns import inside, loopback_netns  # noqa: E402
from nodeproxy import NODECTL, Daemon, wait_until  # noqa: E402
from tc_programs import attach_tcx, pinned_classifier  # noqa: E402

SHADOWED = """
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: all-to-v1}
spec: {destination: {name: web}, precedence: 2, route: [{labels: {version: v1}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: never}
spec: {destination: {name: web}, precedence: 1, route: [{labels: {version: v2}}]}
"""
CONFLICT = "---".join(f"""
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {{name: {name}}}
spec:
  destination: {{name: web}}
  precedence: 5
  match: {{request: {{headers: {{uri: {{prefix: /{name[0]}}}}}}}}}
  route: [{{labels: {{version: v2}}}}]
""" for name in ("same", "same-again"))
NOWHERE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other}
spec: {hosts: [other], http: [{route: [{destination: {host: nobody}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {clusterIP: 10.96.0.11, ports: [{name: http, port: 80}]}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{port: {number: 8081, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
HOSTILE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hostile}
spec:
  hosts: [web]
  http:
  - route: [{destination: {host: web, subset: v1}}]
  - name: "\\e[2J\\u202ex'; reboot #"
    route: [{destination: {host: web, subset: v1}}]
"""


class DoctorCase(CaptureCase):
    def expect(self, area: str, level: str, *words: str) -> doctor.Report:
        """The only complaints are of this area; one has this level and these words."""
        report = doctor.ask(self.daemon)
        bad = report.bad()
        self.assertTrue(bad, report.text)
        self.assertEqual({check["area"] for check in bad}, {area}, report.text)
        found = [check for check in bad if check["level"] == level
                 and all(word in f"{check['subject']}: {check['found']}" for word in words)]
        self.assertTrue(found, f"{words} not in\n{report.text}")
        for check in bad:
            self.assertTrue(check["remedy"] or check["commands"], check)
        return report

    def expect_healthy(self) -> doctor.Report:
        def has_started() -> bool:  # nodectl is answered a moment before the first connection is taken
            return "it is starting" not in doctor.ask(self.daemon).text

        wait_until(has_started, 5, "the worker has started")
        report = doctor.ask(self.daemon)
        self.assertEqual(report.bad(), [], report.text)
        self.assertEqual(report.code, 0)
        return report

    def mend(self, report: doctor.Report) -> list[str]:
        commands = doctor.follow(report, self.daemon)
        self.expect_healthy()
        return commands

    def is_captured(self) -> bool:
        return self.client.curl(f"http://{WEB_V4}/") == "v1\n 200"


class Doctor(DoctorCase):
    NAME = "npdoc"
    FLAGS = ("--watchdog", "0s")  # a stopped worker stays

    def setUp(self) -> None:
        super().setUp()
        self.add_pods()
        self.serve("v1")

    def test_a_healthy_node_is_all_ok_and_every_area_is_told(self) -> None:
        report = self.expect_healthy()
        areas = {check["area"] for check in report.checks}
        self.assertEqual(areas, {"daemon", "overload", "kernel", "hooks", "pins", "heartbeat", "sysctls", "pods",
                                 "policy"})
        self.assertIn(f"default/client on {self.client.veth}: ingress: np_pod_in; egress: np_pod_out", report.words)
        self.assertRegex(report.words, r"default/client: captured by \w+ on \S+ since 2\d\d\d-\d\d-\d\dT")
        self.assertIn("links", report.text)

    def test_another_tcx_program_ahead_of_ours(self) -> None:
        with pinned_classifier(self.NAME) as program, attach_tcx(program, self.client.veth, self.host.netns, first=True):
            report = self.expect("hooks", "fail", "default/client", "other (program", "runs before np_pod_in")
            commands = self.mend(report)
            self.assertEqual(len(commands), 1)
            self.assertIn("pod add client", commands[0])
            self.assertIn("-l app=client", commands[0])
            told = doctor.ask(self.daemon).words
            self.assertRegex(told, r"ingress: np_pod_in, other \(program \d+\)", "in the order in which they run")
            self.assertTrue(self.is_captured())

    def test_a_pin_of_a_map_and_of_a_program_removed(self) -> None:
        root = Path(f"/sys/fs/bpf/{self.NAME}/v1")
        (root / "maps/np_flows").unlink()
        (root / "progs/np_pod_in").unlink()
        report = self.expect("pins", "fail", "maps/np_flows", "the pin is gone")
        commands = self.mend(report)
        self.assertEqual([command.split()[:3] for command in commands],
                         [["bpftool", "map", "pin"], ["bpftool", "prog", "pin"]])
        self.assertTrue(self.is_captured())
        self.assertGreater(len(self.flows()), 0, "it is the map in use that was pinned again")

    def test_a_pinned_link_removed(self) -> None:
        index = inside(self.host.netns, lambda: socket.if_nametoindex(self.client.veth))
        Path(f"/sys/fs/bpf/{self.NAME}/v1/links/pod_in_{index}").unlink()
        report = doctor.ask(self.daemon)
        self.assertEqual({check["area"] for check in report.bad()}, {"hooks", "pins"}, report.text)
        self.assertIn("np_pod_in is not attached to ingress", report.words)
        self.mend(report)
        self.assertTrue(self.is_captured())

    def test_a_pod_whose_veth_vanished(self) -> None:
        pod = self.web["v2"]
        self.host.run("ip", "link", "delete", pod.veth)
        report = self.expect("pods", "fail", f"default/{pod.name}", f"interface {pod.veth} is gone")
        self.assertIn(f"pod remove {pod.name}", doctor.typed_commands(report.text)[0])
        doctor.follow(report, self.daemon)
        left = doctor.ask(self.daemon)
        self.assertNotIn(pod.veth, left.text)
        self.assertEqual(left.bad("pods"), [], left.text)

    def test_a_stopped_worker(self) -> None:
        worker = self.daemon.worker_pid()
        os.kill(worker, signal.SIGSTOP)
        self.addCleanup(os.kill, worker, signal.SIGCONT)
        time.sleep(1.5)  # hb_timeout is 1 s
        report = doctor.ask(self.daemon, "--instance", self.NAME)
        self.assertEqual(report.code, 1)
        self.assertIn("has not answered for 5 s", report.words)
        self.assertIn(f"worker {worker}: it is stopped", report.words)
        self.assertIn("ingress: np_pod_in", report.words, "hooks are looked at all the same")
        self.assertEqual({check["area"] for check in report.bad()}, {"daemon", "heartbeat"}, report.text)
        self.assertEqual(self.mend(report), [f"kill -CONT {worker}"])

    def test_conflicts_shadowed_rules_and_routes_to_nowhere(self) -> None:
        self.daemon.ctl("delete", "virtualservice", "web")
        self.daemon.apply(SHADOWED)
        report = self.expect("policy", "warn", "RouteRule default/never", "never reached")
        self.assertEqual(report.code, 0, "a warning is no failure")
        self.assertIn("delete routerule.config.istio.io never", self.mend(report)[0])
        self.daemon.apply(CONFLICT)
        report = self.expect("policy", "warn", "RouteRule default/same-again", "same precedence as RouteRule default/same")
        self.mend(report)
        self.daemon.ctl("delete", "routerule", "same")
        self.serve("v1")  # its VirtualService and the RouteRule claim the same host
        report = self.expect("policy", "warn", "RouteRule default/all-to-v1", "inactive", "VirtualService default/web")
        self.mend(report)
        self.daemon.apply(NOWHERE)
        report = self.expect("policy", "fail", "VirtualService default/other", "nobody", "503")
        self.assertEqual(report.code, 1)
        self.mend(report)

    def test_hostile_names_are_escaped(self) -> None:
        self.daemon.ctl("delete", "virtualservice", "web")
        self.daemon.apply(HOSTILE)
        report = self.expect("policy", "warn", "VirtualService default/hostile", "never reached")
        self.assertIn("\\x1b[2J\\xe2\\x80\\xaex'; reboot #", report.words)

    def test_wrong_settings(self) -> None:
        self.host.sysctl("net.ipv4.conf.npx.rp_filter", 1, netns=self.NAME)
        self.host.sysctl("net.ipv4.ip_local_port_range", "2000 3000", netns=self.NAME)
        self.host.sysctl("net.ipv4.ip_forward", 0)
        report = self.expect("sysctls", "fail", f"namespace {self.NAME}", "net.ipv4.conf.npx.rp_filter is 1")
        self.assertIn("net.ipv4.ip_forward is 0", report.words)
        self.assertEqual(len(self.mend(report)), 3)
        self.host.run("ip", "link", "set", "dev", f"np0-{self.NAME}", "down")
        self.mend(self.expect("hooks", "fail", f"np0-{self.NAME}", "down"))
        self.assertTrue(self.is_captured())

    def test_after_detach(self) -> None:
        self.daemon.ctl("detach", "--all")
        report = self.expect("pods", "warn", "default/client", "detach --all")
        self.assertIn("restart nodeproxyd", report.text)
        self.daemon.stop()
        self.daemon.start()
        self.mend(report)
        self.assertTrue(self.is_captured())


class DoctorOfClsact(DoctorCase):
    NAME = "npdocc"
    FLAGS = ("--hook", "clsact")

    def test_a_filter_ahead_of_ours(self) -> None:
        self.add_pods()
        self.serve("v1")
        self.expect_healthy()
        with pinned_classifier(self.NAME) as program:
            self.host.run("tc", "filter", "add", "dev", self.client.veth, "ingress", "pref", "1", "bpf", "da",
                          "pinned", program)
            report = self.expect("hooks", "fail", "default/client", "tc filter, pref 1", "runs before np_pod_in")
            self.mend(report)
            self.assertTrue(self.is_captured())
            with attach_tcx(program, self.client.veth, self.host.netns, first=False):
                report = self.expect("hooks", "fail", "default/client", "other (program", "runs before np_pod_in")


class WithoutDaemon(DoctorCase):
    NAME = "npdocd"

    def test_no_daemon_any_more_and_what_to_do(self) -> None:
        self.add_pods()
        self.serve("v1")
        self.daemon.stop()
        time.sleep(1.2)
        report = doctor.ask(self.daemon, "--instance", self.NAME)
        self.assertEqual(report.code, 1)
        self.assertEqual({check["area"] for check in report.bad()}, {"daemon", "heartbeat"}, report.text)
        self.assertIn("no daemon answers on", report.words)
        self.assertIn(f"nodeproxyd --run-dir {self.daemon.run_dir}", report.words.replace(" \\ ", " "))
        self.assertRegex(report.words, r"worker: there is none: the last sign of life was")
        self.assertIn("18 maps, 8 programs", report.text)
        elsewhere = doctor.ask(self.daemon, "--instance", self.NAME, netns=self.client.netns)
        self.assertIn("not in this network namespace", elsewhere.words)
        self.daemon.start()
        self.expect_healthy()

    def test_a_killed_worker_of_a_killed_supervisor_is_told_from_the_pins(self) -> None:
        self.add_pods()
        worker = self.daemon.worker_pid()
        assert self.daemon.process is not None
        os.kill(self.daemon.process.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), 5, "the worker is gone")
        time.sleep(1.2)
        report = doctor.ask(self.daemon, "--instance", self.NAME)
        self.assertIn("control.sock, mode 0660", report.words)
        self.assertIn("there is none", report.words)
        self.daemon.process.wait()
        self.daemon.start()
        self.expect_healthy()


class NeverAny(unittest.TestCase):
    def test_no_daemon_and_no_rights(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            command = [str(NODECTL), "--run-dir", f"{directory}/npnone", "doctor"]
            root = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual(root.returncode, 1)
            self.assertIn("control.sock is not there", root.stdout.replace("\n        ", " "))
            self.assertIn("/sys/fs/bpf/npnone: nothing is pinned", root.stdout)
            nobody = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *command],
                                    capture_output=True, text=True, check=False)
            self.assertEqual(nobody.returncode, 1)
            self.assertIn("only root can see pins", nobody.stdout)
            self.assertIn("$ sudo nodectl", nobody.stdout)
            wrong = subprocess.run([*command, "extra"], capture_output=True, text=True, check=False)
            self.assertEqual(wrong.returncode, 2)

    def test_a_daemon_without_capture(self) -> None:
        with loopback_netns("npdocn") as netns, Daemon("npdocn", "--no-capture", "--workers", "1", netns=netns) as daemon:
            report = doctor.ask(daemon)
            self.assertEqual(report.bad(), [], report.text)
            self.assertIn("--no-capture", report.text)
            daemon.apply(GATEWAY)
            daemon.stop()
            with inside(netns, lambda: socket.create_server(("0.0.0.0", 8081))):
                daemon.start()
                report = doctor.ask(daemon)
                self.assertEqual([check["subject"] for check in report.bad("daemon")], ["gateway listeners"], report.text)
                self.assertIn("ss -ltnp", report.text)
            daemon.stop()
            daemon.start()
            self.assertEqual(doctor.ask(daemon).bad("daemon"), [])


if __name__ == "__main__":
    unittest.main()
