#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two nodes: two host namespaces joined by a link, pods on each, a daemon of its own instance inside
each. Every node keeps its own limits and makes its own experience with a broken pod: two calling
nodes, two requests (D9, D11)."""

from __future__ import annotations

import json
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from counted_origin import CountedOrigin  # noqa: E402
from limits_scene import new_policy, old_policy  # noqa: E402
from netns import Host, Pod, ip, of_this_checkout  # noqa: E402
from nodeproxy import Daemon, wait_until  # noqa: E402
from parallel_clients import finish_clients, start_clients  # noqa: E402
from pod_scene import NO_RETRIES, SERVICE, TCP_VIP, VIP, WEB_PORT  # noqa: E402

CLIENTS = 8
BREAKER = {"errors": 1, "sleep": "15m", "interval": "10s", "percent": 100}
REMOTE_POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}}}
status:
  podIPs: [{{ip: {ipv4}}}, {{ip: "{ipv6}"}}]
"""
VIP_V6 = "fd00:96::10"
LINK_V6 = "fd00:77::"
LINK = {of_this_checkout("np2a"): "192.168.77.1", of_this_checkout("np2b"): "192.168.77.2"}


class Node:
    """A host namespace with its daemon."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.link = LINK[name]
        self.link_v6 = LINK_V6 + self.link[-1]
        self.host = Host(name)
        self.host.__enter__()
        self.daemon = Daemon(name, "--workers", "2", netns=self.host.netns)
        self.local: list[Pod] = []

    def close(self) -> None:
        self.daemon.close()
        self.host.close()

    def register(self, pod: Pod, labels: str) -> None:
        self.daemon.ctl("pod", "add", pod.name, "--ip", f"{pod.ipv4},{pod.ipv6}", "--ifname",
                        pod.veth, "-l", labels)

    def learn(self, pod: Pod, labels: str, owner: "Node") -> None:
        """A pod of the other node: routes to it, and the object that the API server would tell."""
        ip("route", "replace", f"{pod.ipv4}/32", "via", owner.link, netns=self.host.netns)
        ip("-6", "route", "replace", f"{pod.ipv6}/128", "via", owner.link_v6, netns=self.host.netns)
        written = labels.replace("=", ": ").replace(",", ", ")
        self.daemon.apply(REMOTE_POD.format(name=pod.name, labels=written, ipv4=pod.ipv4,
                                            ipv6=pod.ipv6))

    def counter(self, name: str) -> int:
        return int(self.daemon.status()["counters"][name])

    def state(self, origin: CountedOrigin) -> str:
        listed = json.loads(self.daemon.ctl("endpoints", "web", "-o", "json").stdout)
        address = f"{origin.address}:{WEB_PORT}"
        return next(one["state"] for one in listed if one["address"] == address)


class TwoNodes(unittest.TestCase):
    def setUp(self) -> None:
        self.nodes = []
        for name in LINK:
            self.nodes.append(Node(name))
            self.addCleanup(self.nodes[-1].close)
        self.a, self.b = self.nodes
        self.join()
        for node in self.nodes:
            node.daemon.start()
            node.daemon.apply(SERVICE.format(vip=VIP, tcp_vip=TCP_VIP) + "---" + NO_RETRIES)
        self.clients = [self.add_pod(self.a, "client-a", 11, "app=client"),
                        self.add_pod(self.b, "client-b", 41, "app=client")]

    def join(self) -> None:
        ip("link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns",
           self.b.host.netns, netns=self.a.host.netns)
        for node in self.nodes:
            ip("address", "add", f"{node.link}/24", "dev", "uplink", netns=node.host.netns)
            ip("address", "add", f"{node.link_v6}/64", "dev", "uplink", "nodad", netns=node.host.netns)
            ip("link", "set", "uplink", "up", netns=node.host.netns)

    def add_pod(self, node: Node, name: str, number: int, labels: str) -> Pod:
        pod = node.host.routed_pod(name, number)
        for other in self.nodes:
            if other is node:
                other.register(pod, labels)
            else:
                other.learn(pod, labels, node)
        return pod

    def add_origin(self, node: Node, name: str, number: int, listens: str = "0.0.0.0",
                   **mode: object) -> CountedOrigin:
        labels = "app=web,version=v1"
        pod = self.add_pod(node, name, number, labels)
        origin = CountedOrigin(listens, WEB_PORT, netns=pod.netns, **mode)
        self.addCleanup(origin.close)
        origin.address = pod.ipv4
        origin.pod = pod
        return origin

    def apply(self, yaml: str) -> None:
        for node in self.nodes:
            node.daemon.apply(yaml)

    def load_both(self, clients: int, requests: int) -> list:
        """From both nodes at the same instant."""
        loads = [start_clients(VIP, 80, clients, requests, "web", netns=pod.netns)
                 for pod in self.clients]
        return [finish_clients(load) for load in loads]

    def seen(self, origin: CountedOrigin) -> int:
        return len(origin.report()["requests"])

    # ---- limits ----------------------------------------------------------------------------------

    def test_a_limit_holds_on_each_node(self) -> None:
        origin = self.add_origin(self.b, "web-b", 51, hold=0.005)
        self.apply(new_policy("web", "web", connections=2, pending=2))
        outcomes = self.load_both(32, 30)
        for node, outcome in zip(self.nodes, outcomes):
            refused = outcome.status["503"]
            self.assertEqual(outcome.errors, {})
            self.assertEqual(outcome.status["200"] + refused, 32 * 30)
            self.assertEqual((outcome.overloaded, node.counter("upstream_rq_pending_overflow")),
                             (refused, refused))
            self.assertEqual(node.state(origin), "ready")
        self.assertEqual(origin.report()["most"], 4, "two from each")
        by_node = {one["peer"] for one in origin.report()["requests"]}
        self.assertEqual(by_node, {self.a.link, "10.244.0.1"}, "each node calls with its own address")

    # ---- ejection --------------------------------------------------------------------------------

    def broken_scene(self, policy: str):
        good = [self.add_origin(self.a, "good-a", 21, hold=0.002),
                self.add_origin(self.b, "good-b", 51, hold=0.002)]
        broken = self.add_origin(self.b, "broken-b", 52, status=500, hold=0.002)
        self.apply(policy)
        return good, broken

    def check_two(self, policy: str) -> None:
        good, broken = self.broken_scene(policy)
        outcomes = self.load_both(CLIENTS, 20)
        self.assertEqual(self.seen(broken), 2, "one from each calling node")
        self.assertEqual({one["peer"] for one in broken.report()["requests"]},
                         {self.a.link, "10.244.0.1"})
        for node, outcome in zip(self.nodes, outcomes):
            self.assertEqual(outcome.status, {"200": CLIENTS * 20 - 1, "500": 1})
            self.assertEqual(node.state(broken), "ejected")
            self.assertEqual([node.state(one) for one in good], ["ready", "ready"])
            self.assertEqual(node.counter("outlier_detection_ejections_active"), 1)
        self.load_both(CLIENTS, 20)
        self.assertEqual(self.seen(broken), 2)

    def test_the_broken_pod_sees_two_requests(self) -> None:
        self.check_two(new_policy("web", "web", **BREAKER))

    def test_the_broken_pod_sees_two_requests_with_the_old_api(self) -> None:
        destination = json.dumps({"name": "web", "labels": {"version": "v1"}})
        self.check_two(old_policy("web", destination, **BREAKER))

    def test_each_node_learns_for_itself(self) -> None:
        _, broken = self.broken_scene(new_policy("web", "web", **BREAKER))
        first = finish_clients(start_clients(VIP, 80, CLIENTS, 10, "web",
                                             netns=self.clients[0].netns))
        self.assertEqual((first.status["500"], self.seen(broken)), (1, 1))
        self.assertEqual([node.state(broken) for node in self.nodes], ["ejected", "ready"])
        self.load_both(CLIENTS, 10)
        self.assertEqual(self.seen(broken), 2)
        self.a.daemon.ctl("uneject", "web", broken.address)
        self.assertEqual([node.state(broken) for node in self.nodes], ["on probation", "ejected"])
        self.load_both(CLIENTS, 10)
        self.assertEqual(self.seen(broken), 3)

    def test_a_killed_worker_is_its_node_s_affair(self) -> None:
        _, broken = self.broken_scene(new_policy("web", "web", **BREAKER))
        self.load_both(CLIENTS, 10)
        old = self.a.daemon.kill_worker()
        time.sleep(0.3)
        wait_until(lambda: self.a.daemon.has_new_worker(old), 5, "another worker")
        outcomes = self.load_both(CLIENTS, 10)
        self.assertEqual([one.status for one in outcomes], [{"200": 80}, {"200": 80}])
        self.assertEqual(self.seen(broken), 2)
        self.assertEqual([node.state(broken) for node in self.nodes], ["ejected", "ejected"])

    # ---- source: pod -----------------------------------------------------------------------------

    def keep_pod_addresses(self, vips: str) -> None:
        kept = "{name: web, annotations: {nodeproxy.dev/source: pod}}"
        self.apply(SERVICE.format(vip=vips, tcp_vip=TCP_VIP).replace("{name: web}", kept, 1))

    def test_r25_the_pod_s_address_reaches_the_other_node(self) -> None:
        """The endpoint's node sees the caller, and what it answers finds the caller's daemon, whatever
        the hosts' reverse-path checks say."""
        origin = self.add_origin(self.b, "web-b", 51, listens="::")
        client = self.clients[0]
        for rp_filter in (0, 1, 2):
            for node in self.nodes:
                node.host.sysctl("net.ipv4.conf.all.rp_filter", rp_filter)
            for vip in (VIP, VIP_V6):
                self.keep_pod_addresses(f'"{vip}"')
                outcome = finish_clients(start_clients(vip, 80, 4, 10, "web", netns=client.netns))
                self.assertEqual(outcome.status, {"200": 40}, (rp_filter, vip))
        seen = [one["peer"].removeprefix("::ffff:") for one in origin.report()["requests"]]
        self.assertEqual((seen.count(client.ipv4), seen.count(client.ipv6)), (120, 120))

    def test_a_server_of_the_pod_in_the_band_is_left_alone(self) -> None:
        """Its port belongs to the band of upstream sockets, its clients are not the daemon's."""
        self.add_origin(self.b, "web-b", 51)
        self.keep_pod_addresses(VIP)
        client = self.clients[0]
        first = finish_clients(start_clients(VIP, 80, 1, 2, "web", netns=client.netns))
        self.assertEqual(first.status, {"200": 2})
        own = CountedOrigin("0.0.0.0", 61001, netns=client.netns)
        self.addCleanup(own.close)
        for caller in self.clients[1].netns, self.a.host.netns:
            outcome = finish_clients(start_clients(client.ipv4, 61001, 2, 5, "own", netns=caller))
            self.assertEqual((outcome.status, outcome.errors), ({"200": 10}, {}))

    # ---- the kernel's side -----------------------------------------------------------------------

    def test_one_node_leaves_the_other_alone(self) -> None:
        """Pins, proxy namespaces and interfaces are each instance's own."""
        origin = self.add_origin(self.b, "web-b", 51)
        for node in self.nodes:
            self.assertTrue(Path(f"/sys/fs/bpf/{node.name}/v1/maps/np_flows").exists())
            self.assertIn(f"np0-{node.name}", node.host.run("ip", "-o", "link").stdout)
        self.a.daemon.ctl("detach", "--all")
        self.assertEqual(self.a.daemon.stop(), 0)
        outcome = finish_clients(start_clients(VIP, 80, 4, 10, "web", netns=self.clients[1].netns))
        self.assertEqual(outcome.status, {"200": 40})
        self.assertEqual(self.seen(origin), 40)


if __name__ == "__main__":
    unittest.main(verbosity=2)
