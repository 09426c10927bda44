# SPDX-License-Identifier: Apache-2.0
"""Steps 10 and 11: what can be seen of it all, on the page, in Prometheus, and in the kernel."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from pathlib import Path

from lab import layout, limits
from lab.checks import Step
from lab.observers import browser, read_np_conn
from lab.shell import run, terminal, wait_until
from lab.steps import Api

EJECTIONS = (
    "envoy_cluster_out_ratings_istio_system_svc_cluster_local_http_version_v1"
    "_outlier_detection_ejections_active"
)
TRAFFIC_PAGES = 60
SETTLE_SECONDS = 20.0
PAGE_POLLS_MS = 6000
SHOWN_LINES = 26
MAPS = Path("/sys/fs/bpf") / layout.INSTANCE / "v1" / "maps"
NP_CONN_RECORDS = 65536


# ---- step 10 -------------------------------------------------------------------------------------


def look(step: Step, api: Api) -> None:
    """While one pod of ratings is broken and thrown out, and people load the page."""
    limits.start_broken_pod(step, api)
    try:
        step.pages(TRAFFIC_PAGES, 4)
        ask_prometheus(step)
        look_at_top(step)
        look_at_page(step)
    finally:
        limits.remove_broken_pod(step, api)


def ask_prometheus(step: Step) -> None:
    terminal.say(f"  $ curl -s 'http://127.0.0.1:{step.world.observers.prometheus.port}/api/v1/query?query={EJECTIONS}'")
    samples = step.world.observers.prometheus.wait_for(f"{EJECTIONS} == 1", seconds=SETTLE_SECONDS)
    said = ", ".join(f"{sample.value:g} ({sample.labels})" for sample in samples)
    step.check("the lab's expression in a real Prometheus: one pod is out", len(samples) == 1, said)


def look_at_top(step: Step) -> None:
    people = threading.Thread(target=lambda: step.pages(6 * TRAFFIC_PAGES, 4))
    people.start()
    try:
        said = step.world.nodectl.shown("top", "services", "--count", "1", "--interval", "1s")
    finally:
        people.join()
    rows = [line.split() for line in said.splitlines()[2:]]  # service, version, rate, ...
    busy = {row[0]: row[2] for row in rows if len(row) > 2 and row[2] != "0"}
    step.check(
        "nodectl top shows each service and how much it is asked",
        set(busy) >= {"productpage", "details", "reviews", "ratings"},
        ", ".join(f"{name} {rate}/s" for name, rate in busy.items()),
    )
    widest = max(len(line) for line in said.splitlines())
    step.check("in 80 columns", widest <= 80, f"the widest line has {widest}")


def look_at_page(step: Step) -> None:
    url = f"http://127.0.0.1:{step.world.daemon.admin_port}/"
    terminal.say(f"  $ chromium --headless {url}")
    page = re.sub(r"<(script|style)\b.*?</\1>", "", browser().dump_dom(url, budget_ms=PAGE_POLLS_MS), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    for what, wanted in (
        ("services", ("productpage", "reviews", "ratings")),
        ("the ejected pod", ("ratings-v1-broken", "ejected")),
        ("policies in force", ("ratings-cb", "DestinationPolicy")),
    ):
        missing = [word for word in wanted if word not in text]
        step.check(f"the page shows {what}", not missing, "all there" if not missing else f"missing: {missing}")


# ---- step 11 -------------------------------------------------------------------------------------


def kernel_view(step: Step, api: Api) -> None:
    step.pages(TRAFFIC_PAGES, 4)
    path = MAPS / "np_flows"
    terminal.say(f"  $ bpftool map dump pinned {path}")
    dump = run(["bpftool", "map", "dump", "pinned", str(path)]).stdout
    for line in dump.splitlines()[:SHOWN_LINES]:
        terminal.say(terminal.dim(f"    {line}"))
    terminal.say(terminal.dim("    ..."))
    pods = sorted(set(re.findall(r'"pod": "([^"]+)"', dump)))
    step.check("np_flows shows the run's connections", len(pods) >= 2, f"{dump.count(chr(34) + 'pod' + chr(34))} flows of {', '.join(pods)}")
    check_identities(step)


def metrics_of(step: Step) -> dict[str, float]:
    url = f"http://127.0.0.1:{step.world.daemon.admin_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def total(metrics: dict[str, float], name: str, *labels: str) -> int:
    return int(sum(value for key, value in metrics.items() if key.partition("{")[0] == name and all(label in key for label in labels)))


def check_identities(step: Step) -> None:
    """Design, section 6: nothing is under way, so both sides of each must be the same number."""

    def same(what: str, left: int, right: int) -> None:
        step.check(what, left == right, f"{left} = {right}")

    def is_still() -> bool:
        return step.world.counter("downstream_rq_started") == ended_by(step)

    wait_until("nothing is under way", SETTLE_SECONDS, is_still)
    time.sleep(0.3)
    metrics = metrics_of(step)
    conn = read_np_conn(MAPS)
    same("started = completed + refused + aborted + lost", step.world.counter("downstream_rq_started"), ended_by(step))
    same("the same in /metrics", total(metrics, "envoy_http_downstream_rq_total"), ended_by(step))
    told = total(metrics, "istio_requests_total", 'reporter="source"')
    same("requests told by caller, service and answer = all that ended", told, ended_by(step) - step.world.counter("shard_lost_requests"))
    opened = total(metrics, "nodeproxy_pod_flows_opened_total")
    if opened > NP_CONN_RECORDS // 4:
        terminal.say(terminal.dim(f"  ({opened} connections: np_conn keeps the latest ones only)"))
        return
    captured = told - total(metrics, "istio_requests_total", 'reporter="source"', 'source_workload="bookinfo-gateway"')
    same("np_conn ended = requests of captured pods", conn.completed + conn.refused + conn.aborted, captured)
    kernel_up = total(metrics, "nodeproxy_pod_transmit_bytes_total")
    same("bytes from pods: daemon's = kernel's", conn.bytes_up, kernel_up)


def ended_by(step: Step) -> int:
    names = ("downstream_rq_completed", "downstream_rq_refused", "downstream_rq_aborted", "shard_lost_requests")
    return sum(step.world.counter(name) for name in names)
