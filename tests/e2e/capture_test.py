#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Capture end to end: real pods (namespaces), real eBPF, the real daemon. Test names carry the rule of
docs/capture.md that they show."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import WEB_V4, WEB_V6, CaptureCase  # noqa: E402
from counted_origin import CountedOrigin  # noqa: E402
from nodeproxy import load, wait_until  # noqa: E402


class Routed(CaptureCase):
    NAME = "npcapr"

    def setUp(self) -> None:
        super().setUp()
        self.add_pods()
        self.serve("v1")

    def test_r1_cluster_address_without_a_route_is_served_in_both_families(self) -> None:
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        self.assertEqual(self.client.curl(f"http://[{WEB_V6}]/"), "v1\n 200")
        self.serve("v2")
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v2\n 200")

    def test_r14_a_pod_address_of_a_covered_service_is_captured_too(self) -> None:
        before = self.stats()["captured"]
        self.assertEqual(self.client.curl(f"http://{self.web['v2'].ipv4}:8080/"), "v1\n 200",
                         "the route of the service must decide, not the dialled endpoint")
        self.assertGreater(self.stats()["captured"], before)

    def test_r2_r15_other_traffic_passes_and_is_counted(self) -> None:
        before = self.stats()
        pod = self.web["v1"]
        # Not Python's http.server: it asks DNS for its own name before it answers.
        server = CountedOrigin("0.0.0.0", 7777, netns=pod.netns)
        self.addCleanup(server.close)
        url = f"http://{pod.ipv4}:7777/"
        wait_until(lambda: self.client.curl(url, "-o", "/dev/null").endswith("200"), 5, "direct traffic passes")
        echo = ("import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                f"s.sendto(b'x'*100,('{pod.ipv4}',53))\n")
        self.client.run(sys.executable, "-c", echo)
        after = self.stats()
        self.assertGreater(after["bypass"], before["bypass"])
        self.assertGreater(after["bypass_udp"], before["bypass_udp"])

    def test_r6_a_removed_policy_lets_captured_flows_finish(self) -> None:
        script = ("import socket,sys,time\n"
                  f"s=socket.create_connection(('{WEB_V4}',80))\n"
                  "def get():\n"
                  "  s.sendall(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')\n"
                  "  return s.recv(65536).split(b'\\r\\n')[0].decode()\n"
                  "print(get(),flush=True)\nsys.stdin.readline()\nprint(get(),flush=True)\n")
        client = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.client.netns}", sys.executable, "-c", script],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert client.stdin and client.stdout
        self.assertEqual(client.stdout.readline().strip(), "HTTP/1.1 200 OK")
        self.daemon.ctl("delete", "service", "web")
        client.stdin.write("\n")
        client.stdin.flush()
        self.assertIn("HTTP/1.1", client.stdout.readline(), "the captured connection was answered, not cut")
        client.wait(5)

    def test_r8_forty_thousand_short_connections_from_one_pod(self) -> None:
        started = time.monotonic()
        report = load(f"{WEB_V4}:80", "-c", "16", "--requests", "40000", "--close", "--host", "web", "--path", "/",
                      "--timeout", "10", netns=self.client.netns, seconds=240)
        print(f"40000 connections in {time.monotonic() - started:.1f} s: {report['status']}, {report['errors']}, "
              f"slowest {report['latency_us']['max'] / 1000:.1f} ms")
        self.assertEqual(report["status"], {"200": 40000})
        self.assertEqual(sum(report["errors"].values()), 0)
        self.assertLess(report["latency_us"]["max"], 3_000_000, "a stall: a SYN was answered only when repeated")

    def test_r12_host_network_pods_are_reported_as_unsupported(self) -> None:
        self.daemon.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: agent}\nspec: {hostNetwork: true}\n"
                          f"status: {{podIP: 10.0.0.1}}\n")
        self.assertIn("unsupported", self.daemon.ctl("pod", "list").stdout)

    def test_r16_all_rp_filter_and_src_valid_mark_settings(self) -> None:
        for rp_filter in (0, 1, 2):
            for mark in (0, 1):
                for interface in ("all", "default", self.client.veth):
                    self.host.sysctl(f"net.ipv4.conf.{interface}.rp_filter", rp_filter)
                    self.host.sysctl(f"net.ipv4.conf.{interface}.src_valid_mark", mark)
                with self.subTest(rp_filter=rp_filter, src_valid_mark=mark):
                    self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")

    def test_r17_kube_proxy_rules_and_invalid_drop(self) -> None:
        rules = f"""
        table ip np_e2e {{
          counter invalid {{ }}
          chain nat {{ type nat hook prerouting priority dstnat; ip daddr {WEB_V4} tcp dport 80 dnat to {self.web['v2'].ipv4}:8080; }}
          chain forward {{ type filter hook forward priority filter; ct state invalid counter name invalid drop; }}
          chain input {{ type filter hook input priority filter; ct state invalid counter name invalid drop; }}
        }}"""
        loaded = subprocess.run(["nsenter", f"--net=/run/netns/{self.host.netns}", "nft", "-f", "-"], input=rules,
                                text=True, capture_output=True, check=False)
        if loaded.returncode != 0:
            self.skipTest(f"this kernel has no nf_tables NAT: {loaded.stderr.strip()[:120]}")
        for _ in range(20):
            self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        counter = self.host.run("nft", "list", "counter", "ip", "np_e2e", "invalid").stdout
        self.assertIn("packets 0", counter)

    def test_r20_probes_from_the_host_are_not_captured(self) -> None:
        before = self.stats()["captured"]
        done = self.host.run("curl", "-s", "-m", "3", f"http://{self.web['v2'].ipv4}:8080/")
        self.assertEqual(done.stdout, "v2\n", "the host reaches the pod itself")
        self.assertEqual(self.stats()["captured"], before)

    def test_r21_a_pod_with_a_small_mtu_gets_large_answers(self) -> None:
        for netns, device in ((self.client.netns, "eth0"), (self.host.netns, self.client.veth)):
            subprocess.run(["nsenter", f"--net=/run/netns/{netns}", "ip", "link", "set", device, "mtu", "1280"], check=True)
        script = self.client.run("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H",
                                 f"x-large: {'y' * 20000}", f"http://{WEB_V4}/")
        self.assertIn(script.stdout, ("200", "400", "431"), "answered, not lost in a black hole")

    def test_r23_no_xdp_program_on_a_pod_veth(self) -> None:
        shown = self.host.run("ip", "-d", "link", "show", "dev", self.client.veth).stdout
        self.assertNotIn("xdp", shown)

    def test_r47_pins_belong_to_root_alone(self) -> None:
        root = Path(f"/sys/fs/bpf/{self.NAME}")
        self.assertEqual(stat.S_IMODE(root.stat().st_mode), 0o700)
        for pin in (root / "v1" / "maps").iterdir():
            self.assertEqual(stat.S_IMODE(pin.stat().st_mode) & 0o037, 0, pin)

    def test_maps_show_named_fields_and_count(self) -> None:
        for _ in range(3):
            self.client.curl(f"http://{WEB_V4}/")
        flow = next(f for f in self.flows() if f["value"]["svc"].startswith("web"))
        self.assertEqual(flow["key"]["dport"], 80)
        self.assertTrue(flow["value"]["pod"].startswith("default/client"))
        self.assertGreater(flow["value"]["tx_bytes"], 0)
        self.assertGreater(flow["value"]["rx_bytes"], 0)
        open_or_closed = [e["formatted"]["value"] for e in self.map_dump("np_conn") if e["formatted"]["value"]["state"]]
        self.assertEqual(sum(c["completed"] for c in open_or_closed), 3)
        self.assertEqual(sum(c["status_2xx"] for c in open_or_closed), 3)
        self.assertGreaterEqual(self.stats()["pick_ok"], 3)


class Bridged(CaptureCase):
    NAME = "npcapb"
    BRIDGED = True

    def test_r1_bridged_pods_are_captured_in_both_families(self) -> None:
        self.add_pods()
        self.serve("v1")
        for subset in ("v1", "v2"):
            self.serve(subset)
            self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), f"{subset}\n 200")
            self.assertEqual(self.client.curl(f"http://[{WEB_V6}]/"), f"{subset}\n 200")
        report = load(f"{WEB_V4}:80", "-c", "8", "--requests", "2000", "--host", "web", netns=self.client.netns)
        self.assertEqual(report["status"], {"200": 2000})


class Clsact(CaptureCase):
    NAME = "npcapc"
    FLAGS = ("--hook", "clsact")

    def test_r4_capture_by_clsact(self) -> None:
        self.add_pods()
        self.serve("v1")
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        self.assertEqual(self.client.curl(f"http://[{WEB_V6}]/"), "v1\n 200")
        self.assertIn("clsact", self.daemon.ctl("pod", "list", "-o", "wide").stdout)
        self.assertIn("bpf", self.host.run("tc", "filter", "show", "dev", self.client.veth, "ingress").stdout)
        self.daemon.ctl("detach", "--all")
        self.assertNotIn("bpf", self.host.run("tc", "filter", "show", "dev", self.client.veth, "ingress").stdout)


TCP_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  selector: {app: web, version: v1}
  clusterIPs: [10.96.0.20, "fd00:96::20"]
  ports: [{name: tcp-db, port: 5000, targetPort: 5000}]
"""
# Speaks first, then sends everything back after the client's FIN: a server that HTTP sniffing would stall.
TCP_SERVER = """
import socket, threading
def serve(c):
    c.sendall(b'220 ready\\n')
    data = b''
    while True:
        piece = c.recv(65536)
        if not piece: break
        data += piece
    c.sendall(data[::-1])
    c.close()
s = socket.create_server(('::', 5000), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""  # its stderr is not shown: the probe that waits for it leaves before the banner
TCP_CLIENT = """
import socket, sys, time
t = time.monotonic()
c = socket.create_connection((sys.argv[1], 5000), 5)
banner = c.recv(100)
took = time.monotonic() - t
c.sendall(b'abc'); c.shutdown(socket.SHUT_WR)
data = b''
while piece := c.recv(100): data += piece
print(banner.decode().strip(), data.decode(), 'fast' if took < 1 else f'slow {took:.2f}')
"""


class Tcp(CaptureCase):
    NAME = "npcapt"

    def test_r30_r32_server_first_and_half_close(self) -> None:
        self.add_pods()
        self.daemon.apply(TCP_SERVICE)
        pod = self.web["v1"]
        server = subprocess.Popen(["nsenter", f"--net=/run/netns/{pod.netns}", sys.executable, "-c", TCP_SERVER],
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (server.kill(), server.wait()))
        listens = "import socket; socket.create_connection(('127.0.0.1', 5000), 1).close()"
        wait_until(lambda: pod.run(sys.executable, "-c", listens).returncode == 0, 5, "the server listens")
        before = self.stats()["captured"]
        for address in ("10.96.0.20", "fd00:96::20"):
            got = self.client.run(sys.executable, "-c", TCP_CLIENT, address)
            self.assertEqual(got.stdout.strip(), "220 ready cba fast", got.stderr)
        self.assertGreater(self.stats()["captured"], before)


class ProxyNamespace(CaptureCase):
    NAME = "npcapn"

    def read(self, name: str) -> str:
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.NAME}", "cat", f"/proc/sys/net/{name}"],
                              capture_output=True, text=True, check=True)
        return done.stdout.split()[0]

    def test_r18_r27_the_proxy_namespace_has_its_own_settings(self) -> None:
        """Set at every start, whatever the host's defaults are, and repaired by the next start."""
        self.assertEqual(self.read("ipv4/conf/npx/rp_filter"), "0")
        self.assertEqual(self.read("ipv4/conf/all/rp_filter"), "0")
        low = int(self.read("ipv4/ip_local_port_range"))
        self.assertLess(low, 32768, "wider than the host's")
        for name in ("npx", "all"):
            subprocess.run(["nsenter", f"--net=/run/netns/{self.NAME}", "sh", "-c",
                            f"echo 1 > /proc/sys/net/ipv4/conf/{name}/rp_filter"], check=True)
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.read("ipv4/conf/npx/rp_filter"), "0")
        self.assertEqual(self.read("ipv4/conf/all/rp_filter"), "0")

    def test_r13_a_pod_without_a_veth_is_refused_with_a_reason(self) -> None:
        self.host.run("ip", "link", "add", "npcapnd0", "type", "dummy")
        for device in ("npcapnd0", "nosuchdev"):
            done = self.daemon.ctl("pod", "add", "odd", "--ip", "10.244.0.99", "--ifname", device, check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(device, done.stderr)


class SourcePod(CaptureCase):
    NAME = "npcaps"

    def test_r25_the_origin_sees_the_pods_address(self) -> None:
        self.add_pods()
        self.serve("v1", source="pod")
        for url in (f"http://{WEB_V4}/", f"http://[{WEB_V6}]/"):
            self.assertEqual(self.client.curl(url), "v1\n 200")
        wait_until(lambda: len(self.origin_v1.peers()) >= 2, 3, "the origin logged both requests")
        self.assertLessEqual(set(self.origin_v1.peers()[-2:]), {self.client.ipv4, self.client.ipv6})

    def test_r24_by_default_the_origin_sees_the_node(self) -> None:
        self.add_pods()
        self.serve("v1")
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        wait_until(lambda: self.origin_v1.peers(), 3, "the origin logged the request")
        self.assertNotIn(self.client.ipv4, self.origin_v1.peers()[-1:])

    def test_r28_a_pod_that_calls_itself(self) -> None:
        self.add_pods()
        self.serve("v1", source="pod")
        self.assertEqual(self.web["v1"].curl(f"http://{WEB_V4}/"), "v1\n 200")


if __name__ == "__main__":
    unittest.main(verbosity=2)
