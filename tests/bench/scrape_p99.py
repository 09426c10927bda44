#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a scrape of a node with many services is felt by requests.

    tests/bench/scrape_p99.py [--services 1000] [--rounds 3] [--rate 2000] [--seconds 10] [--every 1]

A gateway with two workers and that many services, each asked once, so that each has series of its own;
then an open loop at a fixed rate, in turn without a scraper and with one that asks every so many seconds (a Prometheus
is another machine's work: here it goes behind everything else). Prints the scrapes' duration and size, and
both p99."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import GATEWAY, free_port  # noqa: E402
from nginx import Nginx  # noqa: E402
from nodeproxy import Daemon, load  # noqa: E402
from wire import Client, request_bytes  # noqa: E402

SERVICE = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{number}}}
spec:
  hosts: [s{number}.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {origin}}}, labels: {{version: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{number}}}
spec:
  hosts: [s{number}.internal]
  gateways: [front]
  http:
  - name: to-{number}
    route: [{{destination: {{host: s{number}.internal}}}}]
"""


class Scraper:
    """Asks every so many seconds, from a thread, until it is closed."""

    def __init__(self, url: str, every_seconds: float) -> None:
        self.url = url
        self.every_seconds = every_seconds
        self.seconds: list[float] = []
        self.bytes = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.is_over.wait(self.every_seconds):
            command = ["nice", "-n", "19", "curl", "-s", "-o", "/dev/null", "-w", "%{time_total} %{size_download}"]
            said = subprocess.run([*command, self.url], capture_output=True, text=True, check=True).stdout
            taken, size = said.split()
            self.seconds.append(float(taken))
            self.bytes = int(size)

    def close(self) -> None:
        self.is_over.set()
        self.thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one scrape to the next; Prometheus: 15")
    options = parser.parse_args()
    origin, port, admin = free_port(), free_port(), free_port()
    with (Nginx({f"127.0.0.1:{origin}": "v1"}),
          Daemon("npscrape", "--no-capture", "--workers", "2", admin=f"127.0.0.1:{admin}") as daemon):
        services = "".join(SERVICE.format(number=number, origin=origin) for number in range(options.services))
        daemon.apply(GATEWAY.format(port=port) + services)
        with Client(("127.0.0.1", port)) as client:
            for number in range(options.services):
                client.send(request_bytes("/", host=f"s{number}.internal"))
                assert client.response().status == 200
        ask = ["--host", "s1.internal", "-c", "16", "--rate", str(options.rate), "--duration", str(options.seconds)]
        for number in range(options.rounds):
            alone = load(f"127.0.0.1:{port}", *ask)["latency_us"]
            scraper = Scraper(f"http://127.0.0.1:{admin}/metrics", options.every)
            try:
                beside = load(f"127.0.0.1:{port}", *ask)["latency_us"]
            finally:
                scraper.close()
            print(f"round {number + 1}: p50 {alone['p50']:.0f} -> {beside['p50']:.0f} us, p99 {alone['p99']:.0f} -> "
                  f"{beside['p99']:.0f} us; {len(scraper.seconds)} scrapes of {scraper.bytes / 1e6:.1f} MB, median "
                  f"{statistics.median(scraper.seconds) * 1000:.0f} ms, slowest {max(scraper.seconds) * 1000:.0f} ms",
                  flush=True)


if __name__ == "__main__":
    main()
