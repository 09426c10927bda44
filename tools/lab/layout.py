# SPDX-License-Identifier: Apache-2.0
"""Names, addresses and paths of the demo. Everything it makes carries the prefix npdemo, so that
what a crashed demo left behind can be found and removed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD_DIR = Path(os.environ.get("NP_BUILD_DIR", ROOT / "build")).resolve()
BOOKINFO_DIR = ROOT / "deploy" / "bookinfo"
SAMPLES_DIR = ROOT / "tests" / "support" / "samples"

PREFIX = "npdemo"
INSTANCE = "npdemo"
NAMESPACE = "istio-system"
RUN_DIR = Path("/run/npdemo")
STATE_DIR = Path("/var/lib/npdemo")
WORK_DIR = Path("/run/npdemo-app")
LOCK_FILE = Path("/run/npdemo.lock")
ADMIN_PORT = 15090
GATEWAY_PORT = 8080
SERVICE_PORT = 9080

# The address the pods use as their gateway: the same on every veth, local to the node.
GATEWAY_V4 = "10.244.77.1"
GATEWAY_V6 = "fd00:6e70:244::1"
POD_NET_V4 = "10.244.77.0/24"
POD_NET_V6 = "fd00:6e70:244::/64"
CLUSTER_NET_V4 = "10.96.77.0/24"
CLUSTER_NET_V6 = "fd00:6e70:96::/64"

CLUSTER_V4 = {
    "details": "10.96.77.11",
    "ratings": "10.96.77.12",
    "reviews": "10.96.77.13",
    "productpage": "10.96.77.14",
}
CLUSTER_V6 = {
    "details": "fd00:6e70:96::11",
    "ratings": "fd00:6e70:96::12",
    "reviews": "fd00:6e70:96::13",
    "productpage": "fd00:6e70:96::14",
}


@dataclass(frozen=True)
class PodSpec:
    app: str
    version: str
    host_part: int  # last part of both addresses
    environment: dict[str, str] = field(default_factory=dict)
    suffix: str = ""

    @property
    def name(self) -> str:
        return f"{self.app}-{self.version}{self.suffix}"

    @property
    def netns(self) -> str:
        return f"{PREFIX}-{self.name}"

    @property
    def veth(self) -> str:
        """Host end; an interface name has at most 15 characters."""
        return f"{PREFIX}{self.host_part}"

    @property
    def ipv4(self) -> str:
        return f"10.244.77.{self.host_part}"

    @property
    def ipv6(self) -> str:
        return f"fd00:6e70:244::{self.host_part}"

    @property
    def labels(self) -> str:
        return f"app={self.app},version={self.version}"


PODS = (
    PodSpec("productpage", "v1", 21),
    PodSpec("details", "v1", 22),
    PodSpec("reviews", "v1", 31),
    PodSpec("reviews", "v2", 32),
    PodSpec("reviews", "v3", 33),
    PodSpec("ratings", "v1", 41),
)

# Step 8 starts it: a second pod of ratings v1, of which every answer is a 500.
BROKEN_POD = PodSpec("ratings", "v1", 42, {"RATINGS_FAIL": "1"}, "-broken")
