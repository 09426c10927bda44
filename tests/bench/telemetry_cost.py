#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What log, metrics and traces cost per request, against all of them off. As root or not.

    tests/bench/telemetry_cost.py [--rounds 5] [--requests 60000] [--connections 32]

Each round runs every variant once, in turn, so that what else the machine does falls on all of them: one
daemon with one worker (a gateway, no capture), a real nginx as origin, keep-alive, answers of a few
bytes. The figure is the worker's own CPU time (all its threads, the kernel's part included) divided by
the requests; the table gives each variant's median and its ratio to `off` of the same round."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import REGISTRY, TO_V1, VIRTUAL_SERVICE, free_port  # noqa: E402
from nginx import Nginx  # noqa: E402
from nodeproxy import Daemon, load  # noqa: E402
from trace_collectors import ZipkinCollector  # noqa: E402

WARM_REQUESTS = 5000
US_PER_SECOND = 1e6
OFF = ["--request-metrics", "off", "--tracing", "off", "--access-log", "off"]


def variants(log: Path, collector: str) -> dict[str, list[str]]:
    told = ["--access-log", str(log), "--zipkin", collector]
    return {
        "off": OFF,
        "metrics": ["--tracing", "off"],
        "metrics, log": ["--tracing", "off", "--access-log", str(log)],
        "metrics, log, traces 1 %": [*told, "--trace-sampling", "1"],
        "every request a span": [*told, "--trace-sampling", "100"],
    }


def cpu_seconds(pid: int) -> float:
    """Of all threads: none of them ends meanwhile."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def measure(flags: list[str], origin: int, requests: int, connections: int) -> float:
    """Microseconds of CPU per request."""
    port = free_port()
    with Daemon("nptcost", "--no-capture", "--workers", "1", "--drain-time", "0s", *flags,
                admin=f"127.0.0.1:{free_port()}") as daemon:
        daemon.apply(REGISTRY.format(port=port, v1=origin, v2=origin) + VIRTUAL_SERVICE.format(routes=TO_V1))
        ask = ["-c", str(connections), "--host", "web.test"]
        load(f"127.0.0.1:{port}", *ask, "--requests", str(WARM_REQUESTS))
        pid = daemon.worker_pid()
        before = cpu_seconds(pid)
        report = load(f"127.0.0.1:{port}", *ask, "--requests", str(requests))
        if any(report["errors"].values()):
            raise SystemExit(f"the load had errors: {report}")
        return (cpu_seconds(pid) - before) / requests * US_PER_SECOND


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    origin_port = free_port()
    costs: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="np-cost-") as folder, Nginx({f"127.0.0.1:{origin_port}": "v1"}):
        collector = ZipkinCollector()
        try:
            for number in range(options.rounds):
                log = Path(folder) / f"{number}.log"
                row = {name: measure(flags, origin_port, options.requests, options.connections)
                       for name, flags in variants(log, collector.url).items()}
                for name, cost in row.items():
                    costs.setdefault(name, []).append(cost)
                    ratios.setdefault(name, []).append(cost / row["off"])
                print("round", number + 1, {name: f"{cost:.2f} us" for name, cost in row.items()}, flush=True)
        finally:
            collector.close()
    print(f"{'':26}{'CPU/request':>12}{'ratio':>8}{'lowest':>8}{'highest':>8}")
    for name, values in costs.items():
        of = ratios[name]
        print(f"{name:26}{statistics.median(values):9.2f} us{statistics.median(of):8.3f}{min(of):8.3f}{max(of):8.3f}")


if __name__ == "__main__":
    main()
