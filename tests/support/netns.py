# SPDX-License-Identifier: Apache-2.0
"""A node of one's own for end-to-end tests: a network namespace that plays the host, and pods behind
veth pairs, routed or on a bridge, IPv4 and IPv6.

Names derive from the test's name; leftovers of an earlier run are removed first. Processes enter by
nsenter, because `ip netns exec` would hide the bpf file system.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nodeproxy import ROOT, in_netns

GATEWAY_V4 = "10.244.0.1"
GATEWAY_V6 = "fd00:244::1"
BRIDGE_V4 = "10.245.0.1"
BRIDGE_V6 = "fd00:245::1"
CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def of_this_checkout(name: str) -> str:
    """The name with a mark of the source tree, so that one test may run from two trees at a time."""
    return name + hashlib.sha256(str(ROOT).encode()).hexdigest()[:2]


def ip(*arguments: str, netns: str | None = None, check: bool = True) -> str:
    done = subprocess.run(in_netns(netns, ["ip", *arguments]), capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def inside(netns: str | None, work: Callable[[], T]) -> T:
    """Does the work in a thread that is in the namespace; a socket made there stays there, whoever uses it."""

    def enter_and_work() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{netns}", "rb") as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {netns}: {os.strerror(ctypes.get_errno())}")
        return work()

    if netns is None:
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter_and_work).result()


@contextmanager
def loopback_netns(name: str) -> Iterator[str]:
    """A namespace with nothing but a loopback device; its name."""
    netns = of_this_checkout(name)
    ip("netns", "delete", netns, check=False)
    ip("netns", "add", netns)
    try:
        ip("link", "set", "lo", "up", netns=netns)
        yield netns
    finally:
        ip("netns", "delete", netns)


@dataclass(frozen=True)
class Pod:
    name: str
    netns: str
    veth: str      # host end
    ipv4: str
    ipv6: str

    def run(self, *command: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(in_netns(self.netns, list(command)), capture_output=True, text=True, timeout=seconds,
                              check=False)

    def curl(self, url: str, *flags: str, seconds: float = 5) -> str:
        """Body, a blank, the status; "000" when there was no answer."""
        done = self.run("curl", "-gs", "-m", str(seconds), "-w", " %{http_code}", *flags, url, seconds=seconds + 5)
        return done.stdout


class Host:
    """The node. Use as a context manager."""

    def __init__(self, name: str) -> None:
        assert len(name) <= 8, "interface names have 15 characters"
        self.name = name
        self.netns = f"{name}-host"
        self.pods: list[Pod] = []
        self._bridge = False

    def __enter__(self) -> "Host":
        self.close()
        ip("netns", "add", self.netns)
        ip("link", "set", "lo", "up", netns=self.netns)
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for line in ip("netns", "list").splitlines():
            netns = line.split()[0] if line.split() else ""
            if netns.startswith(f"{self.name}-"):
                for pid in ip("netns", "pids", netns, check=False).split():
                    subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
                ip("netns", "delete", netns, check=False)
        self.pods = []
        self._bridge = False

    def sysctl(self, name: str, value: int | str, netns: str | None = None) -> None:
        path = Path("/proc/sys") / name.replace(".", "/")
        command = in_netns(netns or self.netns, ["sh", "-c", f"echo '{value}' > {path}"])
        subprocess.run(command, check=True)

    def run(self, *command: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(in_netns(self.netns, list(command)), capture_output=True, text=True, timeout=seconds,
                              check=False)

    def _new_pod(self, name: str, number: int, net: str) -> Pod:
        pod = Pod(name, f"{self.name}-{name}", f"{self.name}{number}", f"10.{net}.0.{number}", f"fd00:{net}::{number}")
        ip("netns", "add", pod.netns)
        ip("link", "add", pod.veth, "type", "veth", "peer", "name", "eth0", "netns", pod.netns, netns=self.netns)
        for command in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up")):
            ip(*command, netns=pod.netns)
        self.pods.append(pod)
        return pod

    def routed_pod(self, name: str, number: int) -> Pod:
        """As Calico or the cloud plug-ins make it: a route per pod, the gateway's address on every veth."""
        pod = self._new_pod(name, number, "244")
        ip("address", "add", f"{pod.ipv4}/32", "dev", "eth0", netns=pod.netns)
        ip("address", "add", f"{pod.ipv6}/128", "dev", "eth0", "nodad", netns=pod.netns)
        ip("link", "set", pod.veth, "up", netns=self.netns)
        ip("address", "add", f"{GATEWAY_V4}/32", "dev", pod.veth, netns=self.netns)
        ip("address", "add", f"{GATEWAY_V6}/128", "dev", pod.veth, "nodad", netns=self.netns)
        ip("route", "add", f"{pod.ipv4}/32", "dev", pod.veth, "src", GATEWAY_V4, netns=self.netns)
        ip("-6", "route", "add", f"{pod.ipv6}/128", "dev", pod.veth, "src", GATEWAY_V6, netns=self.netns)
        ip("route", "add", GATEWAY_V4, "dev", "eth0", "scope", "link", netns=pod.netns)
        ip("route", "add", "default", "via", GATEWAY_V4, "dev", "eth0", netns=pod.netns)
        ip("-6", "route", "add", GATEWAY_V6, "dev", "eth0", netns=pod.netns)
        ip("-6", "route", "add", "default", "via", GATEWAY_V6, "dev", "eth0", netns=pod.netns)
        return pod

    def bridged_pod(self, name: str, number: int) -> Pod:
        """As the bridge plug-in makes it: the host end is a port of a bridge that has the gateway's address."""
        if not self._bridge:
            ip("link", "add", "cni0", "type", "bridge", netns=self.netns)
            ip("address", "add", f"{BRIDGE_V4}/24", "dev", "cni0", netns=self.netns)
            ip("address", "add", f"{BRIDGE_V6}/64", "dev", "cni0", "nodad", netns=self.netns)
            ip("link", "set", "cni0", "up", netns=self.netns)
            self._bridge = True
        pod = self._new_pod(name, number, "245")
        ip("address", "add", f"{pod.ipv4}/24", "dev", "eth0", netns=pod.netns)
        ip("address", "add", f"{pod.ipv6}/64", "dev", "eth0", "nodad", netns=pod.netns)
        ip("link", "set", pod.veth, "master", "cni0", "up", netns=self.netns)
        ip("route", "add", "default", "via", BRIDGE_V4, netns=pod.netns)
        ip("-6", "route", "add", "default", "via", BRIDGE_V6, netns=pod.netns)
        return pod
