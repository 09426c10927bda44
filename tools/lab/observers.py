# SPDX-License-Identifier: Apache-2.0
"""Those who listen to the proxy while the lab is walked: two collectors of traces that check what
they get strictly, and a real Prometheus. They are the tests' own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lab import layout

sys.path.insert(0, str(layout.ROOT / "tests" / "support"))

if TYPE_CHECKING:
    from np_conn import Totals
    from prometheus import Prometheus
    from trace_collectors import OtlpCollector, ZipkinCollector


def browser() -> ModuleType:
    """A real one, without a window."""
    import chromium

    return chromium


def read_np_conn(maps: Path) -> Totals:
    from np_conn import read_totals

    return read_totals(maps)


class Observers:
    """Started before the proxy, which is told where they are; closed after it."""

    zipkin: ZipkinCollector
    otlp: OtlpCollector
    prometheus: Prometheus

    def start(self, admin_port: int) -> None:
        from prometheus import Prometheus
        from trace_collectors import OtlpCollector, ZipkinCollector

        self.zipkin = ZipkinCollector()
        self.otlp = OtlpCollector()
        self.prometheus = Prometheus(f"127.0.0.1:{admin_port}")
        self.prometheus.__enter__()

    def flags(self) -> list[str]:
        return ["--zipkin", self.zipkin.url, "--otlp", self.otlp.url]

    def close(self) -> None:
        for name in ("zipkin", "otlp", "prometheus"):
            if hasattr(self, name):
                getattr(self, name).close()
