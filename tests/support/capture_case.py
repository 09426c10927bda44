# SPDX-License-Identifier: Apache-2.0
"""The scene of the capture tests: a node with a client pod, two web pods (v1, v2) and a service `web`
whose cluster addresses are local nowhere, so that only capture makes them answer."""

from __future__ import annotations

import json
import subprocess
import unittest

from netns import Host, Pod
from nginx import Nginx
from nodeproxy import Daemon

WEB_V4 = "10.96.0.10"
WEB_V6 = "fd00:96::10"
SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {{nodeproxy.dev/fail-mode: {fail_mode}, nodeproxy.dev/source: {source}}}
spec:
  selector: {{app: web}}
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
"""
VERSIONS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {{host: web, subset: {subset}}}
"""


class CaptureCase(unittest.TestCase):
    """Each test gets its own node, daemon and pin root, named after `NAME`."""

    NAME = "npcap"
    FLAGS: tuple[str, ...] = ()
    THROUGH: tuple[str, ...] = ()  # a command that becomes the daemon
    BRIDGED = False
    WORKERS = "2"

    def setUp(self) -> None:
        self.host = Host(self.NAME)
        self.addCleanup(self.host.close)
        self.host.__enter__()
        make = self.host.bridged_pod if self.BRIDGED else self.host.routed_pod
        self.client = make("client", 11)
        self.web = {"v1": make("web1", 21), "v2": make("web2", 22)}
        for version, pod in self.web.items():
            origin = Nginx({"0.0.0.0:8080": version, "[::]:8080": version}, netns=pod.netns, access_log=True)
            self.addCleanup(origin.close)
            origin.__enter__()
            setattr(self, f"origin_{version}", origin)
        self.daemon = Daemon(self.NAME, "--workers", self.WORKERS, *self.FLAGS, netns=self.host.netns, through=self.THROUGH)
        self.addCleanup(self.daemon.close)
        self.daemon.start()

    def add_pods(self) -> None:
        self.add_pod(self.client, "app=client")
        for version, pod in self.web.items():
            self.add_pod(pod, f"app=web,version={version}")

    def add_pod(self, pod: Pod, labels: str) -> None:
        self.daemon.ctl("pod", "add", pod.name, "--ip", f"{pod.ipv4},{pod.ipv6}", "--ifname", pod.veth, "-l", labels)

    def serve(self, subset: str = "v1", fail_mode: str = "open", source: str = "node") -> None:
        self.daemon.apply(SERVICE.format(fail_mode=fail_mode, source=source) + VERSIONS + ROUTE.format(subset=subset))

    def map_dump(self, name: str) -> list[dict]:
        path = f"/sys/fs/bpf/{self.NAME}/v1/maps/{name}"
        done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", path], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def stats(self) -> dict[str, int]:
        """np_stats summed over CPUs."""
        entry = self.map_dump("np_stats")[0]
        total: dict[str, int] = {}
        for value in entry["formatted"]["values"]:
            for name, count in value["value"].items():
                total[name] = total.get(name, 0) + count
        return total

    def flows(self) -> list[dict]:
        return [entry["formatted"] for entry in self.map_dump("np_flows")]
