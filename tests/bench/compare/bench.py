# SPDX-License-Identifier: Apache-2.0
"""What the rows of one run share: the sandbox, the origin, the capacity once it is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from .measure import Span, measure
from .origin import Origin
from .peers import KINDS, Nodeproxy, Peer
from .rows import OURS, Load, Row, Scene
from .sandbox import Sandbox
from .values import Sample, column

EARLIER = "nodeproxy, earlier"
CAPACITY_LOAD = Load(connections=32)
CAPACITY_SPAN = Span(0.5, 1.5)


@dataclass(frozen=True)
class Settings:
    rounds: int
    headline: Span
    others: Span
    files: int
    axis_rounds: int  # of a row that only varies one thing
    earlier: Path | None = None  # programs of another build, which then takes part too

    def span(self, row: Row) -> Span:
        return self.headline if row.headline else self.others

    def rounds_of(self, row: Row) -> int:
        return self.axis_rounds if row.kind == "load" and not row.headline else self.rounds


@dataclass
class Result:
    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)  # by contestant, a round each
    notes: list[str] = field(default_factory=list)
    rate: float | None = None
    failed: bool = False

    def add(self, label: str, sample: Sample) -> None:
        self.samples.setdefault(label, []).append(sample)


class Bench:
    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self.sandbox, self.settings = sandbox, settings
        self.origin = Origin(sandbox, settings.files)
        self._capacity: float | None = None

    def all_cpus(self) -> list[int]:
        return sorted({*self.sandbox.proxy_cpus, *self.sandbox.load_cpus})

    def load_cpus(self, row: Row) -> list[int]:
        return self.all_cpus() if row.both_cpus else self.sandbox.load_cpus

    def peer(self, kind: str, scene: Scene, label: str | None = None, both_cpus: bool = False) -> Peer:
        cpus = self.all_cpus() if both_cpus else self.sandbox.proxy_cpus
        return KINDS[kind](self.sandbox, label or kind, scene, self.settings.files, cpus)

    def earlier(self, scene: Scene, both_cpus: bool) -> list[Peer]:
        if self.settings.earlier is None:
            return []
        peer = self.peer(OURS, scene, EARLIER, both_cpus)
        assert isinstance(peer, Nodeproxy)
        peer.programs = self.settings.earlier
        return [peer]

    def contestants(self, row: Row) -> list[Peer]:
        of_others = replace(row.scene, features=frozenset()) if row.others_bare else row.scene
        peers = [self.peer(OURS, row.scene, both_cpus=row.both_cpus)]
        peers += [self.peer(kind, of_others, both_cpus=row.both_cpus) for kind in row.others]
        if row.baseline is not None:
            peers.append(self.peer(OURS, row.baseline, row.baseline_title, row.both_cpus))
        return [*peers, *self.earlier(row.scene, row.both_cpus)]

    def slowest_capacity(self) -> float:
        """Closed loop at 32 connections, what the slowest of the three answers per second."""
        if self._capacity is None:
            row = Row("capacity", "", load=CAPACITY_LOAD)
            with started(self.contestants(row)) as peers:
                samples = [measure(self.sandbox, peer, self.origin, CAPACITY_LOAD, None, CAPACITY_SPAN)
                           for peer in peers]
            rates = column(samples, "rps")
            if len(rates) < len(samples):
                raise RuntimeError("a contestant answered nothing: there is no capacity to take a part of")
            self._capacity = min(rates)
        return self._capacity

    def rate_of(self, load: Load) -> float | None:
        return load.share * self.slowest_capacity() if load.share is not None else load.rate


@contextmanager
def started(peers: list[Peer]) -> Iterator[list[Peer]]:
    try:
        for peer in peers:
            peer.start()
        yield peers
    finally:
        for peer in peers:
            peer.end()
