# SPDX-License-Identifier: Apache-2.0
"""World: the running demo. Owns the pods, the application's processes and the proxy."""

from __future__ import annotations

import json

from lab import daemon, layout, pods
from lab.daemon import Daemon, Nodectl
from lab.layout import PodSpec
from lab.load import LoadResult, LoadSpec
from lab.observers import Observers
from lab.pods import Application
from lab.shell import LabError, run, terminal, wait_until

PAGE_SECONDS = 15.0
PROBE_FILE = layout.ROOT / "tools" / "lab" / "load.py"


class World:
    def __init__(self, gateway_port: int, is_long: bool = False, is_observed: bool = False) -> None:
        self.gateway_port = gateway_port
        self.is_long = is_long  # measurements that take a minute
        self.application = Application(layout.WORK_DIR)
        self.daemon = Daemon()
        self.nodectl = Nodectl()
        self.observers = Observers()
        self.is_observed = is_observed  # by collectors and Prometheus

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}/productpage"

    def start(self) -> None:
        pods.check_addresses_free()
        if not daemon.is_port_free(self.gateway_port):
            raise LabError(
                f"port {self.gateway_port} is taken on this machine; end what uses it "
                f"(ss -ltnp 'sport = :{self.gateway_port}') or give --port"
            )
        self.application.prepare()
        terminal.say(f"starting {len(layout.PODS)} pods")
        for pod in layout.PODS:
            terminal.progress(f"{pod.name}  {pod.ipv4}  {pod.ipv6}")
            pods.make_network(pod)
            self.application.start(pod)
        for pod in layout.PODS:
            terminal.progress(f"waiting for {pod.name}")
            self.application.wait_ready(pod)
        terminal.say("starting nodeproxyd")
        self.daemon.choose_port()
        if self.is_observed:
            self.observers.start(self.daemon.admin_port)
        self.daemon.start(self.observers.flags() if self.is_observed else [])
        for pod in layout.PODS:
            self.daemon.add_pod(self.nodectl, pod)
        self.apply_registry()
        wait_until("the page comes through the gateway", PAGE_SECONDS, self._page_works)

    def apply_registry(self) -> None:
        self.nodectl.quiet("apply", "-f", str(layout.BOOKINFO_DIR / "bookinfo.yaml"))
        gateway = (layout.BOOKINFO_DIR / "gateway.yaml").read_text()
        text = gateway.replace(f"number: {layout.GATEWAY_PORT}", f"number: {self.gateway_port}")
        self.nodectl.quiet("apply", "-f", "-", stdin=text)

    def _page_works(self) -> bool:
        self.check_alive()
        got = run(["curl", "-sf", "-m", "8", "-o", "/dev/null", self.page_url], check=False)
        return got.returncode == 0

    def check_alive(self) -> None:
        self.daemon.check_alive()
        self.application.check_alive()

    def add_pod(self, pod: PodSpec) -> None:
        pods.make_network(pod)
        self.application.start(pod)
        self.application.wait_ready(pod)
        self.daemon.add_pod(self.nodectl, pod)

    def remove_pod(self, pod: PodSpec) -> None:
        self.daemon.remove_pod(self.nodectl, pod)
        self.application.stop_one(pod)
        pods.remove_network(pod)

    def counter(self, name: str) -> int:
        status = json.loads(self.nodectl.quiet("status", "-o", "json"))
        return int(status["counters"][name])

    def endpoints(self, service: str) -> dict[str, dict[str, object]]:
        """By pod, as `nodectl endpoints` sees them."""
        listed = json.loads(self.nodectl.quiet("endpoints", service, "-o", "json"))
        return {str(one["pod"]).rpartition("/")[2]: one for one in listed}

    def load_from_pod(self, pod: str, spec: LoadSpec) -> LoadResult:
        """Sends requests from inside a pod's namespace, where they are captured."""
        command = ["ip", "netns", "exec", f"{layout.PREFIX}-{pod}", "/usr/bin/python3", "-B"]
        done = run([*command, str(PROBE_FILE)], stdin=json.dumps(spec.to_json()), seconds=300)
        return LoadResult.from_json(json.loads(done.stdout))

    def stop(self) -> None:
        self.application.stop()
        self.daemon.stop()
        self.observers.close()
