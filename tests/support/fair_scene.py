# SPDX-License-Identifier: Apache-2.0
"""Two pods that share a node, each with a service and an origin of its own: what one of them does to
the other is then the proxy's doing."""

from __future__ import annotations

import json
import resource

from capture_case import CaptureCase
from netns import Pod

PORT = 80
SERVICES = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{nodeproxy.dev/fail-mode: closed}}}}
spec:
  selector: {{app: {name}}}
  clusterIPs: [{address}]
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
"""
ADDRESS = {"noisy": "10.96.0.21", "quiet": "10.96.0.22"}


class FairCase(CaptureCase):
    """`client` is the quiet pod, `noisy` the other; their services are named after them."""

    def setUp(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        super().setUp()
        self.noisy: Pod = self.host.routed_pod("noisy", 31)
        self.add_pod(self.client, "app=client")
        self.add_pod(self.noisy, "app=client")
        self.add_pod(self.web["v1"], "app=noisy")
        self.add_pod(self.web["v2"], "app=quiet")
        services = [SERVICES.format(name=name, address=address) for name, address in ADDRESS.items()]
        self.daemon.apply("".join(services))

    def use_of(self, pod: Pod) -> dict[str, int]:
        pods = json.loads(self.daemon.ctl("pod", "list", "-o", "json").stdout)
        return next(one["use"] for one in pods if one["name"] == pod.name)
