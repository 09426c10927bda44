# SPDX-License-Identifier: Apache-2.0
"""The row of kind pods: client and origin are pods of one node. nodeproxy captures; what the other
contestants cost is measured over the same veths, from a pod that has no program of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from netns import GATEWAY_V4, Host, Pod

from .bench import Bench, Result, started
from .measure import measure
from .origin import PORT, Origin
from .peers import KINDS, Nodeproxy, Peer
from .render import render_file
from .rows import OURS, Row

ORIGIN_GROUP = "pod-origin"
SERVICE_ADDRESS = "10.96.0.10"
SERVICE_PORT = 80
TAKEN, PLAIN, ORIGIN = 11, 12, 21  # numbers of the pods
LONGEST_PID = 100_000  # interface names are short


class Captured(Nodeproxy):
    """The daemon with its eBPF programs; `client` is the pod that it captures."""

    extra_flags = ()
    client: Pod

    @property
    def target(self) -> str:
        return f"{SERVICE_ADDRESS}:{SERVICE_PORT}"

    @property
    def load_netns(self) -> str:
        return self.client.netns

    def configure(self) -> None:
        pod = self.client
        self.daemon.ctl("pod", "add", pod.name, "--ip", f"{pod.ipv4},{pod.ipv6}", "--ifname", pod.veth)
        super().configure()

    def policy(self) -> str:
        return render_file("captured.yaml", {"service_address": SERVICE_ADDRESS, "origin_port": PORT,
                                             "origin_address": self.origin_address}, self.marks())


@dataclass
class Node:
    host: Host
    taken: Pod
    plain: Pod
    origin: Origin
    origin_address: str


@contextmanager
def node(bench: Bench) -> Iterator[Node]:
    with Host(f"nb{os.getpid() % LONGEST_PID}") as host:
        taken, plain, web = (host.routed_pod(name, number) for name, number in
                             (("taken", TAKEN), ("plain", PLAIN), ("origin", ORIGIN)))
        for netns in (host.netns, taken.netns, plain.netns, web.netns):
            bench.sandbox.prepare(netns)
        origin = Origin(bench.sandbox, bench.settings.files, web.netns, ORIGIN_GROUP)
        try:
            yield Node(host, taken, plain, origin, web.ipv4)
        finally:
            origin.end()


def contestants(bench: Bench, row: Row, place: Node) -> list[Peer]:
    def make(kind: type[Peer], label: str) -> Peer:
        peer = kind(bench.sandbox, label, row.scene, bench.settings.files, bench.sandbox.proxy_cpus,
                    netns=place.host.netns, address=GATEWAY_V4, origin_address=place.origin_address)
        if isinstance(peer, Captured):
            peer.client = place.taken
        else:
            peer.client_netns = place.plain.netns
        return peer

    peers = [make(Captured, OURS), *(make(KINDS[kind], kind) for kind in row.others)]
    if row.baseline is not None:
        peers.append(make(Nodeproxy, row.baseline_title))
    return peers


def run_pods(bench: Bench, row: Row) -> Result:
    result = Result(row)
    with node(bench) as place, started(contestants(bench, row, place)) as peers:
        for _ in range(bench.settings.rounds_of(row)):
            for peer in peers:
                result.add(peer.label, measure(bench.sandbox, peer, place.origin, row.load, None,
                                               bench.settings.span(row)))
    return result
