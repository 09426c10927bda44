# SPDX-License-Identifier: Apache-2.0
"""What is measured, as data. A new row is a new entry of ROWS; docs/benchmarks.md says how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

OURS = "nodeproxy"
PEERS = ("nginx", "haproxy")
BARE = "nodeproxy, bare"
FEATURES = ("access-log", "metrics", "tracing", "rate-limit", "connection-limit", "ejection", "retry",
            "header-edits")
TOGETHER = tuple(name for name in FEATURES if name != "header-edits")  # what design and docs call all
QUEUE = "queue"  # requests wait when the limit of files leaves no room for upstream connections
FEW_CONNECTIONS = 4000
DIRECT = "direct"  # the load asks the origin, nothing between them


@dataclass(frozen=True)
class Scene:
    """How a contestant is set up."""

    workers: int = 1
    endpoints: int = 1
    routes: int = 0  # exact paths /route/1 .. /route/N before the rule that takes everything
    features: frozenset[str] = frozenset()  # marks of conf/


@dataclass(frozen=True)
class Load:
    """What is asked. `share`: open loop at this part of the slowest peer's capacity."""

    connections: int = 32
    path: str = "/"
    method: str = "GET"
    body_bytes: int = 0
    new_connection_each: bool = False
    share: float | None = None
    rate: float | None = None  # open loop at a fixed rate
    tool: str = "np_load"  # or one of loads.WARMED_TOOLS
    goes_first: bool = False  # on its CPU, as on a machine of its own (np_load)

    @property
    def is_open_loop(self) -> bool:
        return self.share is not None or self.rate is not None


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    kind: str = "load"  # of axes.AXES
    scene: Scene = Scene()
    load: Load = Load()
    others: tuple[str, ...] = PEERS  # beside ours
    others_bare: bool = False  # ... set up without the scene's features
    baseline: Scene | None = None  # nodeproxy set up like this takes part too
    baseline_title: str = ""
    both_cpus: bool = False  # layout B: proxy and load on the same CPUs; for scaling only
    headline: bool = False  # measured as long as the settings say; others shorter
    quick: bool = False
    size: dict[str, int] = field(default_factory=dict)  # what its kind asks for


def with_features(*names: str) -> Scene:
    return Scene(features=frozenset(names))


def keep_alive_rows() -> Iterator[Row]:
    for connections in (1, 32, 256, 1000, 10_000):
        yield Row(f"keepalive-{connections}", f"keep-alive, 128 B, {connections} connections, closed loop",
                  scene=with_features(QUEUE) if connections > FEW_CONNECTIONS else Scene(),
                  load=Load(connections=connections), headline=connections in (32, 256),
                  quick=connections in (32, 256))
    yield Row("keepalive-32-wrk", "as keepalive-32, by another load tool (wrk)",
              load=Load(connections=32, tool="wrk"))
    yield Row("new-connection", "a new connection for each request, 128 B, 32 at a time",
              load=Load(connections=32, new_connection_each=True), headline=True, quick=True)


def latency_rows() -> Iterator[Row]:
    for percent in (10, 30, 50, 70):
        yield Row(f"latency-{percent}", f"open loop, Poisson, {percent} % of the slowest peer's capacity, 128 B, "
                  "32 connections", load=Load(connections=32, share=percent / 100), others=(*PEERS, DIRECT),
                  headline=percent == 50, quick=percent == 50)


def body_rows() -> Iterator[Row]:
    mib = 1024 * 1024
    for name, size, connections in (("0", 0, 32), ("1KiB", 1024, 32), ("16KiB", 16 * 1024, 32), ("1MiB", mib, 16),
                                    ("100MiB", 100 * mib, 4)):
        yield Row(f"body-{name}", f"{name} down, {connections} connections, closed loop",
                  load=Load(connections=connections, path=f"/body/{size}"), headline=size >= mib)
    yield Row("body-1MiB-up", "1 MiB up, 16 connections, closed loop",
              load=Load(connections=16, path="/upload", method="POST", body_bytes=mib))
    yield Row("body-chunked", "16 KiB down in chunks, 32 connections, closed loop",
              load=Load(connections=32, path="/chunked/16384"))


def size_rows() -> Iterator[Row]:
    few = "nodeproxy, 10"
    for count in (10, 100, 1000, 10_000):
        yield Row(f"routes-{count}", f"{count} exact routes, the last one matches",
                  scene=Scene(routes=count), load=Load(path=f"/route/{count}"),
                  baseline=Scene(routes=10) if count != 10 else None, baseline_title=few)
        yield Row(f"routes-{count}-miss", f"{count} exact routes, none matches",
                  scene=Scene(routes=count), load=Load(path="/none"),
                  baseline=Scene(routes=10) if count != 10 else None, baseline_title=few)
        yield Row(f"endpoints-{count}", f"{count} endpoints, two at random and the less busy",
                  scene=Scene(endpoints=count), baseline=Scene(endpoints=10) if count != 10 else None,
                  baseline_title=few)
    yield Row("routes-endpoints", "10 000 routes and 1 000 endpoints, against 10 and 10",
              scene=Scene(routes=10_000, endpoints=1000), load=Load(path="/route/10"),
              baseline=Scene(routes=10, endpoints=10), baseline_title="nodeproxy, 10 and 10", headline=True)


def feature_rows() -> Iterator[Row]:
    for name in FEATURES:
        yield Row(f"feature-{name}", f"with {name}, against bare",
                  scene=Scene(endpoints=2 if name == "ejection" else 1, features=frozenset({name})),
                  baseline=Scene(endpoints=2 if name == "ejection" else 1), baseline_title=BARE)
    yield Row("feature-installed", "nodeproxy as installed (metrics and tracing on), the others bare",
              scene=with_features("metrics", "tracing"), baseline=Scene(), baseline_title=BARE, others_bare=True)
    yield Row("feature-all", "with " + ", ".join(TOGETHER) + ", against bare",
              scene=Scene(endpoints=2, features=frozenset(TOGETHER)), baseline=Scene(endpoints=2),
              baseline_title=BARE, headline=True)


def state_rows() -> Iterator[Row]:
    yield Row("idle-memory", "memory of 8 000 idle connections", kind="memory", size={"idle": 8000})
    yield Row("crowd", "100 active connections, open loop; beside them 9 900 idle and 1 000 new ones per second",
              kind="crowd", load=Load(connections=100, share=0.3, goes_first=True),
              size={"idle": 9900, "churn": 1000})
    for count in (10, 10_000):
        yield Row(f"reload-{count}", f"one rule of {count} changes under load, open loop", kind="reload",
                  scene=Scene(routes=count), load=Load(connections=32, share=0.3))
    yield Row("workers-2", "two workers, proxy and load on both CPUs: only for what the second one adds",
              scene=Scene(workers=2), load=Load(connections=256), baseline=Scene(workers=1),
              baseline_title="nodeproxy, 1 worker", both_cpus=True)
    yield Row("captured", "pod to pod: nodeproxy captures, the others are asked by their address", kind="pods",
              others=(*PEERS, DIRECT), baseline=Scene(), baseline_title="nodeproxy, gateway", headline=True,
              quick=True)
    yield Row("fair-share", "a quiet pod's p99 beside a pod at full speed", kind="fair-share", others=(),
              size={"seconds": 5, "connections": 8000})


ROWS = [*keep_alive_rows(), *latency_rows(), *body_rows(), *size_rows(), *feature_rows(), *state_rows()]
