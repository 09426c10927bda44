# SPDX-License-Identifier: Apache-2.0
"""Pods as network namespaces: each has its own address, a veth into the node's namespace and a
default route over it. The node routes to each pod; nothing forwards between pods and no sysctl is
touched, so a pod reaches a cluster address only when the proxy captures the call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from lab import layout
from lab.layout import PodSpec
from lab.shell import LabError, run, wait_until

NETNS_ETC = Path("/etc/netns")
STOP_SECONDS = 5.0
START_SECONDS = 15.0


def _batch(commands: list[str], netns: str = "") -> None:
    enter = ["-n", netns] if netns else []
    run(["ip", *enter, "-batch", "-"], stdin="\n".join(commands) + "\n")


def make_network(pod: PodSpec) -> None:
    netns, veth = pod.netns, pod.veth
    run(["ip", "netns", "add", netns])
    _batch([f"link add {veth} type veth peer name eth0 netns {netns}"])
    _batch(
        [
            "link set lo up",
            "link set eth0 up",
            f"address add {pod.ipv4}/32 dev eth0",
            f"address add {pod.ipv6}/128 dev eth0 nodad",
            f"route add {layout.GATEWAY_V4} dev eth0 scope link",
            f"route add default via {layout.GATEWAY_V4} dev eth0",
        ],
        netns,
    )
    _batch(
        [
            f"link set {veth} up",
            f"address add {layout.GATEWAY_V4}/32 dev {veth}",
            f"address add {layout.GATEWAY_V6}/128 dev {veth} nodad",
            f"route add {pod.ipv4}/32 dev {veth} src {layout.GATEWAY_V4}",
            f"route add {pod.ipv6}/128 dev {veth} src {layout.GATEWAY_V6}",
        ]
    )
    _batch(
        [
            f"route add {layout.GATEWAY_V6} dev eth0",
            f"route add default via {layout.GATEWAY_V6} dev eth0",
        ],
        netns,
    )
    write_hosts(netns)


def write_hosts(netns: str) -> None:
    """`ip netns exec` shows these files as /etc/hosts and /etc/resolv.conf: the pod's DNS."""
    folder = NETNS_ETC / netns
    folder.mkdir(parents=True, exist_ok=True)
    for covered in "/etc/hosts", "/etc/resolv.conf":
        Path(covered).touch()  # nothing can be laid over a file that a minimal system lacks
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for service, address in layout.CLUSTER_V4.items():
        qualified = f"{service}.{layout.NAMESPACE}"
        lines.append(f"{address} {service} {qualified} {qualified}.svc.cluster.local")
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    (folder / "resolv.conf").write_text("# no name server: names come from /etc/hosts\n")


def remove_network(pod: PodSpec) -> None:
    run(["ip", "netns", "delete", pod.netns], check=False)
    run(["ip", "link", "delete", pod.veth], check=False)
    shutil.rmtree(NETNS_ETC / pod.netns, ignore_errors=True)


def netns_names() -> list[str]:
    listed = run(["ip", "netns", "list"]).stdout.splitlines()
    names = [line.split()[0] for line in listed if line.strip()]
    return [name for name in names if name.startswith(f"{layout.PREFIX}-")]


def pids_in(netns: str) -> list[int]:
    return [int(pid) for pid in run(["ip", "netns", "pids", netns], check=False).stdout.split()]


def is_alive(pid: int) -> bool:
    """False for a zombie too: its parent is a crashed demo's heir, not us."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def end_processes(pids: list[int]) -> None:
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        alive = [pid for pid in pids if is_alive(pid)]
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        try:
            wait_until("processes end", seconds, lambda: not any(map(is_alive, pids)))
        except LabError:
            pass


def remove_all() -> int:
    """Removes every pod of this or an earlier demo; says how many there were."""
    names = netns_names()
    end_processes([pid for name in names for pid in pids_in(name)])
    for name in names:
        run(["ip", "netns", "delete", name], check=False)
        shutil.rmtree(NETNS_ETC / name, ignore_errors=True)
    # Deleting the namespace deletes the veth, a moment later; a half-made pod may have one alone.
    for pod in (*layout.PODS, layout.BROKEN_POD):
        run(["ip", "link", "delete", pod.veth], check=False)
    if NETNS_ETC.is_dir() and not any(NETNS_ETC.iterdir()):
        NETNS_ETC.rmdir()
    return len(names)


def check_addresses_free() -> None:
    """A node that already routes these networks somewhere would lose traffic to the demo."""
    for family, net in (
        ("-4", layout.POD_NET_V4),
        ("-4", layout.CLUSTER_NET_V4),
        ("-6", layout.POD_NET_V6),
        ("-6", layout.CLUSTER_NET_V6),
    ):
        routes = run(["ip", family, "route", "show", "table", "all", "root", net]).stdout.strip()
        if routes:
            raise LabError(
                f"the demo needs {net}, but this machine already routes there:\n{routes}"
            )


class Application:
    """The Bookinfo processes. Owns them; stop() ends them."""

    def __init__(self, work_dir: Path) -> None:
        self._code = work_dir / "bookinfo"
        self._logs = work_dir / "log"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[IO[bytes]] = []

    def prepare(self) -> None:
        """The pods run unprivileged and may not read the checkout: they get a copy of their own."""
        shutil.copytree(layout.BOOKINFO_DIR, self._code, dirs_exist_ok=True)
        run(["chmod", "-R", "a+rX", str(self._code.parent)])
        self._logs.mkdir(parents=True, exist_ok=True)

    def log_file(self, pod: str) -> Path:
        return self._logs / f"{pod}.log"

    def requests_seen(self, pod: str, path_prefix: str = "") -> int:
        """Requests that reached the pod's process, health checks apart."""
        seen = 0
        for line in self.log_file(pod).read_text().splitlines():
            fields = line.split()  # time, pod, client, method, path, status, ...
            if len(fields) > 5 and fields[4] != "/health" and fields[4].startswith(path_prefix):
                seen += 1
        return seen

    def start(self, pod: PodSpec) -> None:
        log = open(self.log_file(pod.name), "ab")
        self._files.append(log)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "POD_NAME": pod.name,
            "SERVICE_VERSION": pod.version,
            **pod.environment,
        }
        program = str(self._code / f"{pod.app}.py")
        unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        unprivileged += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        self._running[pod.name] = subprocess.Popen(
            ["ip", "netns", "exec", pod.netns, *unprivileged, "/usr/bin/python3", program],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )

    def wait_ready(self, pod: PodSpec) -> None:
        def answers() -> bool:
            self.check_alive()
            return all(
                run(
                    ["curl", "-gsf", "-m", "2", f"http://{host}:{layout.SERVICE_PORT}/health"],
                    check=False,
                ).returncode
                == 0
                for host in (pod.ipv4, f"[{pod.ipv6}]")
            )

        wait_until(f"{pod.name} answers on {pod.ipv4} and {pod.ipv6}", START_SECONDS, answers)

    def stop_one(self, pod: PodSpec) -> None:
        process = self._running.pop(pod.name)
        end_processes([process.pid])
        process.wait()

    def check_alive(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                said = self.log_file(name).read_text()[-1000:]
                raise LabError(f"{name} ended with code {process.returncode}:\n{said}")

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for file in self._files:
            file.close()
        self._running.clear()
        self._files.clear()
