#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a quiet pod's requests take while another pod keeps the shard busy. Root.

    tests/bench/fair_share.py [--rounds 3] [--seconds 10] [--connections 8000]

One worker on the first CPU; everything else on the second, where the quiet pod and its origin go
before the noisy ones (SCHED_FIFO), and so does the kernel's thread that takes in packets there: they
stand for machines of their own, and what is measured is the wait inside the daemon. Each round
measures the quiet pod alone, while the noisy pod opens its connections, beside it, and beside the
same noise going past the daemon, which is what the machine itself adds."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from fair_scene import ADDRESS, PORT, FairCase  # noqa: E402
from go_first import go_first, packets_go_first  # noqa: E402
from nodeproxy import finish_load, start_load, wait_until  # noqa: E402

WORKER_CPU, OTHER_CPU = 0, 1
SETTLE_SECONDS = 8
QUANTILES = ("p50", "p90", "p99", "max")


class Scene(FairCase):
    NAME = "npfairb"
    THROUGH = ("taskset", "-c", str(WORKER_CPU))
    WORKERS = "1"

    def runTest(self) -> None:
        """Never run as a test."""


def pin(pid: int) -> None:
    os.sched_setaffinity(pid, {OTHER_CPU})


def quiet_load(scene: Scene, seconds: int) -> dict:
    process = start_load(f"{ADDRESS['quiet']}:{PORT}", "--rate", "200", "-c", "16", "--duration", str(seconds),
                         netns=scene.client.netns)
    pin(process.pid)
    go_first(process.pid)
    return finish_load(process)


def uncaptured(scene: Scene, seconds: int, connections: int) -> dict:
    """The same noise past the daemon: what the machine alone does to the quiet pod."""
    noisy = start_load(f"{scene.web['v1'].ipv4}:8080", "-c", str(connections), "--duration",
                       str(seconds + SETTLE_SECONDS), netns=scene.noisy.netns)
    pin(noisy.pid)
    time.sleep(SETTLE_SECONDS)
    report = quiet_load(scene, seconds)
    finish_load(noisy)
    return report


def one_round(scene: Scene, seconds: int, connections: int) -> dict[str, dict]:
    alone = quiet_load(scene, seconds)
    noisy = start_load(f"{ADDRESS['noisy']}:{PORT}", "-c", str(connections), "--duration", str(seconds + 2 * SETTLE_SECONDS),
                       netns=scene.noisy.netns)
    pin(noisy.pid)
    wait_until(lambda: scene.use_of(scene.noisy)["flows_open"] >= connections, 30, "all are open")
    opening = quiet_load(scene, SETTLE_SECONDS)  # its origin still takes in connections
    beside = quiet_load(scene, seconds)
    ended = finish_load(noisy)
    return {"quiet, alone": alone, "quiet, opening": opening, "quiet, beside": beside, "noisy": ended,
            "quiet, noise past": uncaptured(scene, seconds, connections)}


def show(name: str, report: dict) -> None:
    times = "  ".join(f"{quantile} {report['latency_us'][quantile]:8.0f}" for quantile in QUANTILES)
    print(f"  {name:18} {report['completed']:8} answers of {report['sent']:8}, us: {times}, "
          f"errors { {kind: n for kind, n in report['errors'].items() if n} }", flush=True)


def forget_at_once(scene: Scene) -> None:
    """Thousands of sockets of an earlier round that end a minute later would all do so in a later one."""
    for netns in (scene.host.netns, scene.client.netns, scene.noisy.netns, *(pod.netns for pod in scene.web.values())):
        scene.host.sysctl("net.ipv4.tcp_max_tw_buckets", 0, netns=netns)


def prepare(scene: Scene) -> None:
    forget_at_once(scene)
    scene.enterContext(packets_go_first(OTHER_CPU))
    pin(scene.origin_v1.process.pid)
    pin(scene.origin_v2.process.pid)
    go_first(scene.origin_v2.process.pid)


def wait_for_end(scene: Scene) -> None:
    wait_until(lambda: scene.use_of(scene.noisy)["flows_open"] == 0, 60, "the noisy pod has ended")


def main() -> None:
    parser = argparse.ArgumentParser(description="what a noisy pod costs a quiet one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=8000)
    arguments = parser.parse_args()
    scene = Scene()
    scene.setUp()
    try:
        prepare(scene)
        for number in range(arguments.rounds):
            reports = one_round(scene, arguments.seconds, arguments.connections)
            alone, beside = (reports[f"quiet, {when}"]["latency_us"]["p99"] for when in ("alone", "beside"))
            print(f"round {number + 1}: p99 beside / alone {beside / alone:.2f}")
            for name, report in reports.items():
                show(name, report)
            wait_for_end(scene)
        print(f"noisy pod's use: {scene.use_of(scene.noisy)}")
    finally:
        scene.doCleanups()


if __name__ == "__main__":
    main()
