# SPDX-License-Identifier: Apache-2.0
"""tools/demo: starts Bookinfo as pods with one node proxy, then waits, or walks the lab."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from types import FrameType

from lab import daemon, layout, pods
from lab.shell import LabError, terminal
from lab.walk import STEP_NUMBERS, walk
from lab.world import World

DESCRIPTION = """\
Starts the Bookinfo application as pods (network namespaces) on this machine, with one node proxy
that captures their calls, and a gateway on port 8080. Everything is removed at the end.
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=["run", "lab", "clean"], default="run",
                        help="run (default): wait for Ctrl-C; lab: walk the lab; "
                        "clean: remove what a crashed demo left")  # fmt: skip
    parser.add_argument("--only", type=int, metavar="N", action="append",
                        choices=STEP_NUMBERS, help="lab: only step N (may be given again)")  # fmt: skip
    parser.add_argument("--keep", action="store_true",
                        help="lab: leave everything running afterwards, until Ctrl-C")  # fmt: skip
    parser.add_argument("--long", action="store_true",
                        help="lab: measure rates for a minute instead of seconds")  # fmt: skip
    parser.add_argument("--port", type=int, default=layout.GATEWAY_PORT,
                        help="port of the gateway (default 8080)")  # fmt: skip
    return parser.parse_args()


def take_lock() -> int:
    """One demo at a time: names and addresses are fixed. The lock goes when the process does."""
    lock = os.open(layout.LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode().strip()
        raise LabError(f"another demo is running on this machine (pid {pid})") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def clean(say_so: bool) -> None:
    had_pods = pods.remove_all()
    had_proxy = daemon.remove_all()
    if say_so and (had_pods or had_proxy):
        terminal.say("removed what an earlier demo had left behind")


def on_terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def print_urls(world: World) -> None:
    ctl = " ".join(world.nodectl.command([]))
    terminal.say()
    terminal.say(terminal.bold("Bookinfo is running."))
    terminal.say(f"  page        {terminal.bold(world.page_url)}")
    terminal.say(f"  dashboard   {terminal.bold(f'http://127.0.0.1:{world.daemon.admin_port}/')}")
    terminal.say(f"  metrics     http://127.0.0.1:{world.daemon.admin_port}/metrics")
    terminal.say(f"  readiness   http://127.0.0.1:{world.daemon.admin_port}/readyz")
    terminal.say(f"  logs        {layout.WORK_DIR}/")
    terminal.say()
    terminal.say("Reload the page: the stars change, for reviews has three versions. Then try")
    samples = layout.SAMPLES_DIR.relative_to(layout.ROOT) / "istio-v1alpha2"
    terminal.say(f"  sudo {ctl} create -f {samples}/route-rule-all-v1.yaml")
    terminal.say(
        f"  sudo {ctl} create -f {samples}/route-rule-reviews-test-v2.yaml  # sign in as jason"
    )
    terminal.say(f"  sudo {ctl} create -f {samples}/route-rule-ratings-test-delay.yaml")
    terminal.say(f"  sudo {ctl} get routerule")
    terminal.say(f"  sudo {ctl} traces    # and: trace ID")
    terminal.say("  sudo ip netns exec npdemo-productpage-v1 curl -s http://reviews:9080/reviews/0")
    terminal.say("  sudo bpftool map dump pinned /sys/fs/bpf/npdemo/v1/maps/np_flows")
    terminal.say()


def wait_for_interrupt(world: World) -> None:
    terminal.say("Ctrl-C ends it and removes everything.")
    while True:
        time.sleep(1)
        world.check_alive()


def work(options: argparse.Namespace, world: World) -> int:
    world.start()
    if options.what == "run":
        print_urls(world)
        wait_for_interrupt(world)
        return 0
    code = walk(world, options.only or [])
    if options.keep:
        print_urls(world)
        try:
            wait_for_interrupt(world)
        except KeyboardInterrupt:
            terminal.say()
    return code


def main() -> int:
    options = parse_arguments()
    try:
        take_lock()
    except LabError as error:
        terminal.say(str(error))
        return 1
    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGHUP, on_terminate)
    clean(say_so=True)
    if options.what == "clean":
        return 0
    world = World(options.port, options.long, is_observed=options.what == "lab")
    code = 1
    try:
        code = work(options, world)
    except KeyboardInterrupt:
        terminal.say()
        code = 0 if options.what == "run" else 130
    except LabError as error:
        terminal.say(terminal.red(f"failed: {error}"))
    finally:
        # A second Ctrl-C must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        terminal.say("removing pods and proxy ...")
        world.stop()
        clean(say_so=False)
    return code


if __name__ == "__main__":
    sys.exit(main())
