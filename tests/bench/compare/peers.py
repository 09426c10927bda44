# SPDX-License-Identifier: Apache-2.0
"""The contestants of a row: each is started from its committed configuration, alone in a control
group, and may be told to take a changed configuration while it runs."""

from __future__ import annotations

import itertools
import signal
from abc import ABC, abstractmethod
from dataclasses import replace

from netns import inside
from nodeproxy import BUILD, Daemon, wait_until

from . import origin
from .render import render_file
from .rows import DIRECT, Scene
from .sandbox import Sandbox

READY_SECONDS = 30.0
MOST_KEPT = 10_000  # idle upstream connections of nginx: as many as a row may need
CLIENTS = 10_000  # of the row with the most connections
PORTS = itertools.cycle(range(19001, 19200))


def endpoint_addresses(count: int, single: str) -> list[str]:
    """All of them are the one origin: it listens on every loopback address."""
    if count == 1:
        return [single]
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


def route_paths(count: int) -> list[str]:
    return [f"/route/{number}" for number in range(1, count + 1)]


class Peer(ABC):
    """`name` is also its control group; `label` is what the table calls it."""

    def __init__(self, sandbox: Sandbox, label: str, scene: Scene, files: int, cpus: list[int],
                 netns: str | None = None, address: str = "127.0.0.1", origin_address: str = "127.0.0.1") -> None:
        self.sandbox, self.label, self.scene, self.files, self.cpus = sandbox, label, scene, files, cpus
        self.netns = netns or sandbox.netns
        self.address, self.origin_address = address, origin_address
        self.client_netns = self.netns
        self.port = next(PORTS)
        self.name = f"{type(self).__name__.lower()}-{self.port}"
        self.dir = sandbox.dir / self.name
        self.dir.mkdir()

    @property
    def target(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def load_netns(self) -> str:
        """Where its clients are."""
        return self.client_netns

    @property
    def is_measured(self) -> bool:
        """Whether there is a process whose CPU time counts."""
        return True

    def values(self) -> dict[str, object]:
        return {"dir": self.dir, "files": self.files, "connections": self.files - origin.SPARE_FILES,
                "workers": self.scene.workers, "address": self.address, "port": self.port}

    def marks(self) -> set[str]:
        marks = set(self.scene.features)
        if self.scene.workers > 1:
            marks.add("several-workers")
        if self.scene.endpoints > 1:
            marks.add("many-endpoints")
        if self.scene.routes > 0:
            marks.add("many-routes")
        return marks

    def origins(self) -> list[str]:
        addresses = endpoint_addresses(self.scene.endpoints, self.origin_address)
        return [f"{address}:{origin.PORT}" for address in addresses]

    @abstractmethod
    def start(self) -> None:
        """Returns when it answers."""

    @abstractmethod
    def prepare(self, scene: Scene) -> None:
        """Writes the configuration for it."""

    @abstractmethod
    def commit(self) -> None:
        """Tells the running peer to use what was prepared; returns when its own command does."""

    def end(self) -> None:
        self.sandbox.end(self.name)

    def pids(self) -> list[int]:
        return self.sandbox.pids(self.name)

    def ask(self, path: str) -> bytes:
        address, port = self.target.split(":")
        return inside(self.load_netns, lambda: origin.http_get(address, int(port), path))

    def wait_ready(self) -> None:
        def answers() -> bool:
            try:
                return len(self.ask("/")) == origin.SMALL_BODY_BYTES
            except OSError:
                return False

        wait_until(answers, READY_SECONDS, f"{self.label} answers; {self.dir}")

    def run(self, command: list[str]) -> None:
        """Everything on the way there executes the next, so the process is the peer's own."""
        with (self.dir / "stdout").open("a") as stdout, (self.dir / "stderr").open("a") as stderr:
            self.process = self.sandbox.start(self.name, self.cpus, command, netns=self.netns, stdout=stdout,
                                              stderr=stderr)


class Nginx(Peer):
    def start(self) -> None:
        self.prepare(self.scene)
        self.run(["nginx", "-c", str(self.dir / "nginx.conf"), "-e", str(self.dir / "nginx-error.log")])
        self.wait_ready()

    def prepare(self, scene: Scene) -> None:
        self.scene = scene
        fails = "max_fails=5 fail_timeout=30s" if "ejection" in self.scene.features else "max_fails=0"
        limit = " max_conns=10000" if "connection-limit" in self.scene.features else ""
        values = self.values() | {
            "servers": "\n".join(f"server {one} {fails}{limit};" for one in self.origins()),
            "keepalive": MOST_KEPT,
            "routes": "\n".join(f"location = {path} {{ proxy_pass http://origin; }}"
                                for path in route_paths(self.scene.routes))}
        (self.dir / "nginx.conf").write_text(render_file("nginx.conf", values, self.marks()))

    def commit(self) -> None:
        self.process.send_signal(signal.SIGHUP)


class Haproxy(Peer):
    def start(self) -> None:
        self.prepare(self.scene)
        self.run(["haproxy", "-W", "-f", str(self.dir / "haproxy.cfg")])
        self.wait_ready()

    def prepare(self, scene: Scene) -> None:
        self.scene = scene
        values = self.values() | {
            "servers": "\n".join(f"  server s{number} {one}" for number, one in enumerate(self.origins())),
            "upstream_connections": max(1, self.files - CLIENTS - origin.SPARE_FILES) * 3 // 4,
            "shards": "shards by-thread" if self.scene.workers > 1 else ""}
        (self.dir / "haproxy.cfg").write_text(render_file("haproxy.cfg", values, self.marks()))
        routes = "".join(f"{path} origin\n" for path in route_paths(self.scene.routes))
        (self.dir / "haproxy-routes.map").write_text(routes)

    def commit(self) -> None:
        self.process.send_signal(signal.SIGUSR2)


class Nodeproxy(Peer):
    """`--no-capture`, one Gateway."""

    extra_flags: tuple[str, ...] = ("--no-capture",)
    programs = BUILD / "bin"  # another build's, when two are compared

    def start(self) -> None:
        options = self.dir / "nodeproxyd.conf"
        options.write_text(render_file("nodeproxyd.conf", self.values(), self.marks()))
        self.daemon = Daemon(f"{self.sandbox.name}-{self.port}", "--config", str(options), *self.extra_flags,
                             netns=self.netns, admin=f"127.0.0.1:{self.port + 1000}",
                             through=self.sandbox.through(self.name, self.cpus), programs=self.programs)
        self.daemon.start()
        self.configure()
        self.wait_ready()

    def configure(self) -> None:
        self.prepare(self.scene)
        self.commit()

    def prepare(self, scene: Scene) -> None:
        self.scene = scene
        (self.dir / "nodeproxy.yaml").write_text(self.policy())

    def policy(self) -> str:
        values = self.values() | {"endpoints": _json_endpoints(self.origins()),
                                  "routes": "\n".join(map(_yaml_route, route_paths(self.scene.routes)))}
        return render_file("nodeproxy.yaml", values, self.marks())

    def commit(self) -> None:
        self.daemon.ctl("apply", "-f", str(self.dir / "nodeproxy.yaml"))

    def end(self) -> None:
        if hasattr(self, "daemon"):
            self.daemon.close()
        super().end()


class Direct(Peer):
    """Nothing between the load and the origin."""

    @property
    def target(self) -> str:
        return f"{self.origin_address}:{origin.PORT}"

    @property
    def load_netns(self) -> str:
        """Where its clients are."""
        return self.client_netns

    @property
    def is_measured(self) -> bool:
        return False

    def start(self) -> None:
        pass

    def prepare(self, scene: Scene) -> None:
        pass

    def commit(self) -> None:
        pass


KINDS: dict[str, type[Peer]] = {"nginx": Nginx, "haproxy": Haproxy, "nodeproxy": Nodeproxy, DIRECT: Direct}


def with_mark(scene: Scene, mark: str) -> Scene:
    return replace(scene, features=scene.features | {mark})


def _json_endpoints(origins: list[str]) -> str:
    each = []
    for one in origins:
        address, port = one.split(":")
        each.append(f"{{address: {address}, ports: {{http: {port}}}}}")
    return "[" + ", ".join(each) + "]"


def _yaml_route(path: str) -> str:
    return f"  - {{match: [{{uri: {{exact: {path}}}}}], route: [{{destination: {{host: origin.internal}}}}]}}"
