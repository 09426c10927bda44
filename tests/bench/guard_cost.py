#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the admission guard of an uplink costs per packet, and what it saves good clients.

    tests/bench/guard_cost.py [--rounds 3] [--seconds 3] [--rate 500] [--new-rate 100]

The uplink is a veth, so both halves of a frame's way, sending and receiving, are paid by the core that sends:
packets/s compare verdicts and modes with each other, and say nothing about a network card, where XDP runs
before the kernel makes anything of a frame and a veth does not.

One core sends SYNs from sources that do not exist to the port of the gateway, as fast as it can. Good clients
ask the gateway in an open loop: 16 kept connections, then a new connection for each request. They, gateway and
origin share another core, and that core receives what comes in at the uplink, as on a node whose network card
interrupts the core that serves: what good clients suffer is what the SYNs cost the node, not what they cost who
sends them. "a core is busy" is the proof. Wants a quiet machine."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from guard_scene import BAD_SOURCES, NODE_V4, PORT, UPLINK, GuardScene  # noqa: E402
from nodeproxy import finish_load, start_load  # noqa: E402

MODES = ("native", "generic", "tc")
CLOSED_PORT = 9
BAD_CORE, GOOD_CORE = 0, 1
ON_BAD_CORE = ("taskset", "-c", str(BAD_CORE))
SPIN = [*ON_BAD_CORE, sys.executable, "-c", "while True: pass"]


def exits(counters: dict[str, int]) -> int:
    return sum(count for name, count in counters.items() if name.startswith(("pass_", "drop_")))


def flood(scene: GuardScene, seconds: float, port: int = PORT) -> float:
    """Packets per second that a guard, if there is one, judged; else that were sent."""
    with scene.counting() as rise:
        process = scene.start_flood(seconds, port=port, before=ON_BAD_CORE)
        report = finish_load(process)
    judged = exits(rise)
    if judged > 0:
        assert judged >= report["sent"] * 0.99, (judged, report)
    return float(report["per_second"])


def set_rules(scene: GuardScene, what: str) -> None:
    """Of the bad SYNs: nothing, their sources are denied, their destination is limited, or all pass by it."""
    change = "add" if what == "denied" else "del"
    if what == "denied" or BAD_SOURCES in scene.status()["denied"]:
        scene.guard("deny", change, BAD_SOURCES)
    if what == "limited":
        scene.guard("limit", f"{NODE_V4}:{PORT}", "1/1")
    elif any(one["origin"] == "limit" for one in scene.status()["destinations"]):
        scene.guard("limit", f"{NODE_V4}:{PORT}", "none")


def print_rates(scene: GuardScene, rounds: int, seconds: float) -> None:
    """Rounds take turns, so that what else the machine does hits all alike."""
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        rates.setdefault("no guard, to the gateway's port", []).append(flood(scene, seconds))
        rates.setdefault("no guard, to a closed port", []).append(flood(scene, seconds, CLOSED_PORT))
        for mode in MODES:
            scene.guard("attach", UPLINK, "--mode", mode)
            for what in ("denied", "limited"):
                set_rules(scene, what)
                rates.setdefault(f"{mode}: {what}", []).append(flood(scene, seconds))
            set_rules(scene, "nothing")
            rates.setdefault(f"{mode}: passed to the gateway's port", []).append(flood(scene, seconds))
            scene.guard("detach", UPLINK)
    base = statistics.median(rates["no guard, to the gateway's port"])
    print(f"\nSYNs per second from one core (median of {rounds} rounds of {seconds:g} s)")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:<42} {rate:>10,.0f}   {1e9 / rate:>6,.0f} ns each   x {rate / base:.2f}", flush=True)


@contextmanager
def busy_core() -> Iterator[None]:
    process = subprocess.Popen(SPIN)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def bad_syns(scene: GuardScene, seconds: float) -> Iterator[None]:
    process = scene.start_flood(seconds, before=ON_BAD_CORE)
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def in_sysfs(scene: GuardScene, name: str, value: int | str) -> None:
    """Of the uplink; `ip netns exec` shows the namespace's own devices there."""
    write = f"echo {value} > /sys/class/net/{UPLINK}/{name}"
    subprocess.run(["ip", "netns", "exec", scene.host.netns, "sh", "-c", write], check=True)


def receive_on_good_core(scene: GuardScene) -> None:
    """Native XDP has a thread for that; the rest goes by receive packet steering."""
    in_sysfs(scene, "queues/rx-0/rps_cpus", f"{1 << GOOD_CORE:x}")
    if scene.hook() != "native":
        return
    in_sysfs(scene, "threaded", 1)
    threads = subprocess.run(["pgrep", f"^napi/{UPLINK}-"], capture_output=True, text=True, check=True).stdout.split()
    for thread in threads:
        subprocess.run(["taskset", "-cp", str(GOOD_CORE), thread], check=True, capture_output=True)


def handled(scene: GuardScene, seconds: float) -> float:
    """Of the SYNs that arrive, how many per second the guard sees: the rest found the queue full."""
    with scene.counting() as rise:
        time.sleep(seconds)
    return exits(rise) / seconds


def ask(scene: GuardScene, seconds: float, rate: int, *flags: str) -> dict:
    """Good clients."""
    report = finish_load(start_load(f"{NODE_V4}:{PORT}", "--rate", str(rate), "--duration", str(seconds),
                                    "--timeout", "10", *flags, netns=scene.outside))
    report["failed"] = sum(report["errors"].values())
    return report


def measure(scene: GuardScene, name: str, options: argparse.Namespace, table: dict[str, list[dict]]) -> None:
    kept = ask(scene, options.seconds, options.rate, "-c", "16")
    new = ask(scene, options.seconds, options.new_rate, "-c", "64", "--close")
    table.setdefault(name, []).append({"kept": kept, "new": new})


def line(name: str, rounds: list[dict]) -> str:
    text = f"  {name:<42}"
    for kind in ("kept", "new"):
        for percentile in ("p50", "p99"):
            value = statistics.median(one[kind]["latency_us"][percentile] for one in rounds)
            text += f" {value / 1000:>9.2f}"
        done = sum(one[kind]["completed"] for one in rounds)
        failed = sum(one[kind]["failed"] for one in rounds)
        text += f" {done:>7} {failed:>6}"
    return text


def print_latencies(scene: GuardScene, options: argparse.Namespace) -> None:
    table: dict[str, list[dict]] = {}
    seen: dict[str, list[float]] = {}
    receive_on_good_core(scene)
    long_enough = 6 * options.seconds + 30
    for _ in range(options.rounds):
        measure(scene, "alone", options, table)
        with busy_core():
            measure(scene, "a core is busy, no SYN", options, table)
        with bad_syns(scene, long_enough):
            measure(scene, "bad SYNs, no guard", options, table)
            for mode in MODES:
                scene.guard("attach", UPLINK, "--mode", mode)
                set_rules(scene, "denied")
                receive_on_good_core(scene)
                measure(scene, f"bad SYNs, denied ({mode})", options, table)
                seen.setdefault(mode, []).append(handled(scene, 1.0))
                scene.guard("detach", UPLINK)
    print(f"\ngood clients, ms (medians of {options.rounds} rounds): {options.rate}/s over 16 kept connections, "
          f"{options.new_rate}/s with a new one each")
    print(f"  {'':<42}" + f" {'p50':>9} {'p99':>9} {'done':>7} {'failed':>6}" * 2)
    for name, rounds in table.items():
        print(line(name, rounds), flush=True)
    print("SYNs per second that the good core judged: " +
          ", ".join(f"{mode} {statistics.median(rates):,.0f}" for mode, rates in seen.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--new-rate", type=int, default=100)
    options = parser.parse_args()
    if not {BAD_CORE, GOOD_CORE} <= os.sched_getaffinity(0):
        sys.exit("guard_cost.py: needs two cores, one of them for the SYNs")
    os.sched_setaffinity(0, {GOOD_CORE})
    with GuardScene("npgcost") as scene:
        print_rates(scene, options.rounds, options.seconds)
        print_latencies(scene, options)


if __name__ == "__main__":
    main()
