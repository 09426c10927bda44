# SPDX-License-Identifier: Apache-2.0
"""The scene of the tests about limits and ejection from pods: a node, a daemon with two workers,
and pods whose origins count for themselves."""

from __future__ import annotations

import json
import os
import unittest
from typing import ClassVar

from counted_origin import CountedOrigin
from netns import Host, Pod, of_this_checkout
from nodeproxy import Daemon, wait_until
from parallel_clients import Outcome, run_clients

VIP = "10.96.7.10"
TCP_VIP = "10.96.7.11"
WEB_PORT = 8080
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  clusterIPs: [{vip}]
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: raw}}
spec:
  selector: {{app: raw}}
  clusterIPs: [{tcp_vip}]
  ports: [{{name: tcp-raw, port: 9000, targetPort: 8080}}]
"""
NO_RETRIES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - retries: {attempts: 0}
    route:
    - destination: {host: web}
"""


class PodsCase(unittest.TestCase):
    """Each test gets a node, a daemon and pods of its own."""

    NAME: ClassVar[str] = "nppods"
    THROUGH: ClassVar[tuple[str, ...]] = ()  # a command that becomes the daemon

    def setUp(self) -> None:
        self.name = of_this_checkout(self.NAME)
        self.host = Host(self.name)
        self.addCleanup(self.host.close)
        self.host.__enter__()
        self.daemon = Daemon(self.name, "--workers", "2", *self.daemon_flags(), netns=self.host.netns,
                             through=self.THROUGH)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        self.client = self.add_pod("client", 11, "app=client")
        self.daemon.apply(SERVICE.format(vip=VIP, tcp_vip=TCP_VIP) + "---" + NO_RETRIES)

    def daemon_flags(self) -> list[str]:
        """Further ones; asked when the node is there and the daemon is not."""
        return []

    def add_pod(self, name: str, number: int, labels: str) -> Pod:
        pod = self.host.routed_pod(name, number)
        self.register(pod, labels)
        return pod

    def register(self, pod: Pod, labels: str) -> None:
        self.daemon.ctl("pod", "add", pod.name, "--ip", f"{pod.ipv4},{pod.ipv6}", "--ifname",
                        pod.veth, "-l", labels)

    def add_origin(self, name: str, number: int, labels: str = "app=web,version=v1",
                   **mode: object) -> CountedOrigin:
        """A pod with an origin; its address is the pod's, and `pod` that pod."""
        pod = self.host.routed_pod(name, number)
        origin = CountedOrigin("0.0.0.0", WEB_PORT, netns=pod.netns, **mode)
        self.addCleanup(origin.close)
        origin.address = pod.ipv4
        origin.pod = pod
        self.register(pod, labels)
        return origin

    def join_again(self, origin: CountedOrigin, labels: str = "app=web,version=v1") -> None:
        """As a new pod at the old address."""
        self.daemon.ctl("pod", "remove", origin.pod.name)
        self.register(origin.pod, labels)

    def clients(self, clients: int, requests: int, pod: Pod | None = None) -> Outcome:
        return run_clients(VIP, 80, clients, requests, "web", netns=(pod or self.client).netns)

    def counter(self, name: str) -> int:
        return int(self.daemon.status()["counters"][name])

    def endpoint(self, origin: CountedOrigin, service: str = "web") -> dict:
        listed = json.loads(self.daemon.ctl("endpoints", service, "-o", "json").stdout)
        found = [one for one in listed if one["address"] == f"{origin.address}:{WEB_PORT}"]
        self.assertEqual(len(found), 1, origin.address)
        return found[0]

    def kill_worker(self) -> None:
        """Returns when another one serves."""
        old = self.daemon.kill_worker()

        def is_replaced() -> bool:
            children = f"/proc/{self.daemon.process.pid}/task/{self.daemon.process.pid}/children"
            with open(children, encoding="ascii") as file:
                now = file.read().split()
            return bool(now) and now != [str(old)] and not os.path.exists(f"/proc/{old}/root")

        wait_until(is_replaced, 10, "another worker", 0.01)
        wait_until(lambda: self.daemon.ctl("status", check=False).returncode == 0, 5, "it answers")
