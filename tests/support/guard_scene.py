# SPDX-License-Identifier: Apache-2.0
"""A node with an uplink: a veth pair whose other end is the outside world, a gateway on every address of the
node, an origin behind it, and whoever sends SYNs in the name of sources that do not exist."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from embedded import GATEWAY, free_port
from netns import Host, Pod, ip
from nginx import Nginx
from nodeproxy import BUILD, Daemon, in_netns

FLOOD = BUILD / "bin" / "np_syn_flood"
UPLINK = "up0"
NODE_V4, NODE_V6 = "192.0.2.1", "2001:db8::1"
CLIENT_V4, OTHER_V4, CLIENT_V6 = "192.0.2.2", "192.0.2.3", "2001:db8::2"
BAD_SOURCES = "198.18.0.0/15"  # of np_syn_flood
PORT = 8080
POLICY = GATEWAY + """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {origin}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - route: [{{destination: {{host: web.internal}}}}]
"""


class GuardScene:
    """Use as a context manager."""

    def __init__(self, name: str, *flags: str, through: tuple[str, ...] = (), workers: str = "1") -> None:
        self.host = Host(name)
        self.outside = f"{name}-out"  # the host's close() removes it by its prefix
        self.daemon = Daemon(name, "--workers", workers, *flags, netns=self.host.netns, through=through)
        self.origin: Nginx | None = None

    def __enter__(self) -> "GuardScene":
        try:
            self.host.__enter__()
            self.make_uplink()
            port = free_port()
            self.origin = Nginx({f"127.0.0.1:{port}": "web"}, netns=self.host.netns)
            self.origin.__enter__()
            self.daemon.start()
            self.daemon.apply(POLICY.format(port=PORT, origin=port))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.daemon.close()
        if self.origin is not None:
            self.origin.close()
        self.host.close()

    def make_uplink(self) -> None:
        netns, outside = self.host.netns, self.outside
        ip("netns", "add", outside)
        ip("link", "add", UPLINK, "type", "veth", "peer", "name", "eth0", "netns", outside, netns=netns)
        ip("address", "add", f"{NODE_V4}/24", "dev", UPLINK, netns=netns)
        ip("address", "add", f"{NODE_V6}/64", "dev", UPLINK, "nodad", netns=netns)
        ip("link", "set", UPLINK, "up", netns=netns)
        ip("link", "set", "lo", "up", netns=outside)
        for address in (CLIENT_V4, OTHER_V4):
            ip("address", "add", f"{address}/24", "dev", "eth0", netns=outside)
        ip("address", "add", f"{CLIENT_V6}/64", "dev", "eth0", "nodad", netns=outside)
        ip("link", "set", "eth0", "up", netns=outside)
        # The answers to sources that do not exist leave the node, as they would.
        ip("route", "add", "default", "via", CLIENT_V4, netns=netns)

    # ---- clients --------------------------------------------------------------------------------

    def curl(self, url: str = f"http://{NODE_V4}:{PORT}/", *flags: str, seconds: float = 3) -> str:
        """The status; "000" when there was no answer."""
        command = ["curl", "-gs", "-o", "/dev/null", "-m", str(seconds), "-w", "%{http_code}", *flags, url]
        return subprocess.run(in_netns(self.outside, command), capture_output=True, text=True, check=False,
                              timeout=seconds + 10).stdout

    def mac(self) -> str:
        return json.loads(ip("-j", "link", "show", UPLINK, netns=self.host.netns))[0]["address"]

    def start_flood(self, seconds: float, port: int = PORT, rate: int = 0,
                    before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """`before`: a command that becomes the flood, such as taskset."""
        command = [*before, str(FLOOD), "--interface", "eth0", "--to", f"{NODE_V4}:{port}", "--mac", self.mac(),
                   "--seconds", str(seconds), "--rate", str(rate)]
        return subprocess.Popen(in_netns(self.outside, command), stdout=subprocess.PIPE, text=True)

    def flood(self, seconds: float, **how: int) -> dict:
        """To its end; its report."""
        output, _ = self.start_flood(seconds, **how).communicate(timeout=seconds + 30)
        return json.loads(output)

    # ---- the guard ------------------------------------------------------------------------------

    def guard(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.daemon.ctl("guard", *arguments, check=check)

    def status(self) -> dict:
        return json.loads(self.guard("status", "-o", "json").stdout)

    def hook(self) -> str:
        """How the uplink is guarded; empty when it is not."""
        return "".join(one["hook"] for one in self.status()["interfaces"] if one["ifname"] == UPLINK)

    def destination(self, address: str) -> dict:
        return next(one for one in self.status()["destinations"] if one["destination"] == address)

    def kernel_counters(self) -> dict[str, int]:
        """np_guard_st as bpftool shows it, summed over CPUs: also when no daemon runs."""
        path = f"/sys/fs/bpf/{self.host.name}/v1/maps/np_guard_st"
        done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", path], capture_output=True, text=True,
                              check=True)
        total: dict[str, int] = {}
        for value in json.loads(done.stdout)[0]["formatted"]["values"]:
            for name, count in value["value"].items():
                total[name] = total.get(name, 0) + count
        return total

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """Filled at the end: by how much each counter rose."""
        rise: dict[str, int] = {}
        before = self.kernel_counters()
        yield rise
        after = self.kernel_counters()
        rise.update({name: after[name] - before[name] for name in after})

    def pod_with_server(self) -> tuple[Pod, Nginx]:
        """A routed pod that serves on the gateway's port; reached through the uplink."""
        pod = self.host.routed_pod("pod", 31)
        server = Nginx({f"0.0.0.0:{PORT}": "pod"}, netns=pod.netns)
        server.__enter__()
        ip("route", "add", f"{pod.ipv4}/32", "via", NODE_V4, netns=self.outside)
        return pod, server
