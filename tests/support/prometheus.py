# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes what a test gives it, and promtool's opinion of texts and rules."""

from __future__ import annotations

import http.client
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from embedded import free_port
from netns import inside
from nodeproxy import in_netns, wait_until

READY_SECONDS = 30.0
PORT_TRIES = 3
JOB = "nodeproxy"


@dataclass(frozen=True)
class Sample:
    labels: dict[str, str]
    value: float


def _config(targets: Iterable[str], rules: Iterable[Path], every: str, metrics_path: str) -> str:
    """JSON, which is YAML as well."""
    return json.dumps({
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path.resolve()) for path in rules],
        "scrape_configs": [{
            "job_name": JOB,
            "metrics_path": metrics_path,
            "static_configs": [{"targets": list(targets)}],
        }],
    })


class Prometheus:
    """Scrapes each "address:port" every second as the job `nodeproxy`. Use as a context manager. It looks
    for its targets five seconds after its start, and nothing changes that: start it early."""

    def __init__(self, *targets: str, rules: Iterable[Path] = (), netns: str | None = None, every: str = "1s",
                 metrics_path: str = "/metrics") -> None:
        self.netns = netns
        self.port = 0
        self.dir = Path(tempfile.mkdtemp(prefix="np-prometheus-"))
        (self.dir / "config.yml").write_text(_config(targets, rules, every, metrics_path))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Prometheus":
        try:
            for _ in range(PORT_TRIES):  # whatever takes the free port first ends the process at once
                if self._start():
                    return self
            raise AssertionError(f"prometheus ended at once:\n{self.log()}")
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> bool:
        self.port = inside(self.netns, free_port)
        flags = [f"--config.file={self.dir}/config.yml", f"--storage.tsdb.path={self.dir}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with (self.dir / "log").open("ab") as log:
            self.process = subprocess.Popen(in_netns(self.netns, ["prometheus", *flags]), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        try:
            wait_until(lambda: self._has_ended() or self._is_ready(), READY_SECONDS, "prometheus is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        return not self._has_ended()

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _is_ready(self) -> bool:
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self) -> str:
        path = self.dir / "log"
        return path.read_text(errors="replace")[-5000:] if path.exists() else ""

    # ---- its interface --------------------------------------------------------------------------

    def _get(self, path: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()

        return inside(self.netns, fetch)

    def _api(self, name: str, **parameters: str) -> dict:
        status, text = self._get(f"/api/v1/{name}?{urlencode(parameters)}")
        if status != 200:
            raise AssertionError(f"{name} {parameters}: {status} {text}\n{self.log()}")
        return json.loads(text)["data"]

    def query(self, expression: str) -> list[Sample]:
        """The expression's value now: one sample a series, or one without labels for a number."""
        data = self._api("query", query=expression)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        assert data["resultType"] == "vector", f"{expression} is a {data['resultType']}"
        return [Sample(one["metric"], float(one["value"][1])) for one in data["result"]]

    def wait_for(self, expression: str, predicate: Callable[[list[Sample]], bool] = bool,
                 seconds: float = 20.0) -> list[Sample]:
        """The samples, once the predicate says yes to them; without one, once there are any."""
        deadline = time.monotonic() + seconds
        while not predicate(samples := self.query(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {expression} is {samples}; {self.targets()}")
            time.sleep(0.2)
        return samples

    def value(self, expression: str) -> float:
        """Of an expression with one sample; NaN when there is none yet."""
        samples = self.query(expression)
        assert len(samples) <= 1, f"{expression} has {len(samples)} samples"
        return samples[0].value if samples else math.nan

    def targets(self) -> list[dict]:
        """What is scraped, with `health` ("up") and `lastError`."""
        return self._api("targets", state="active")["activeTargets"]

    def rules(self) -> list[dict]:
        """The rules of all groups: `name`, `query`, `type` ("alerting" or "recording"), `health`, ..."""
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict]:
        """Pending and firing ones: `labels` with the alertname, `state`, `value`."""
        return self._api("alerts")["alerts"]


# ---- promtool --------------------------------------------------------------------------------------


def _complaints(command: list[str], text: str | None = None) -> list[str]:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return []
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines or [f"exit {done.returncode}"]


def check_metrics(text: str) -> list[str]:
    """What promtool finds wrong in an exposition; empty when nothing."""
    return _complaints(["promtool", "check", "metrics"], text)


def check_rules(path: Path) -> list[str]:
    """What promtool finds wrong in a file of rules; empty when nothing."""
    return _complaints(["promtool", "check", "rules", str(path)])
