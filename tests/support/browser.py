# SPDX-License-Identifier: Apache-2.0
"""A browser that stays: one headless Chromium in real time, driven over its DevTools pipe, for pages that
poll. What scripts throw, the console says and the security policy blocks is collected; chromium.py is for
pages that only need to be looked at once."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from chromium import FLAGS
from nodeproxy import in_netns

ANSWER_SECONDS = 20.0
# What Chromium ends requests with when interfaces come or addresses become usable: it says nothing of the page.
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
LOADS_MAX = 20
FIRST_FREE = 10  # the pipe is 3 and 4 in the browser: ours must not be in the way


class Browser:
    """Use as a context manager; thread of the test."""

    def __init__(self, netns: str | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="np-browser-")
        commands, answers = os.pipe(), os.pipe()
        self._in = fcntl.fcntl(commands[0], fcntl.F_DUPFD, FIRST_FREE)
        self._out = fcntl.fcntl(answers[1], fcntl.F_DUPFD, FIRST_FREE)
        os.close(commands[0])
        os.close(answers[1])
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self._folder}/profile"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # it refuses to start as root otherwise
        shell = ["bash", "-c", f'exec "$@" 3<&{self._in} 4>&{self._out}', "bash"]
        environment = {**os.environ, "HOME": self._folder, "TMPDIR": self._folder}
        self._process = subprocess.Popen(
            in_netns(netns, [*shell, "chromium", *flags, "about:blank"]), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
            pass_fds=(self._in, self._out))
        os.close(self._in)
        os.close(self._out)
        self._write, self._read = commands[1], answers[0]
        self._changed = threading.Condition()
        self._answers: dict[int, dict] = {}
        self._ended = False
        self._number = 0
        self.complaints: list[str] = []
        self._is_interrupted = False
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- the pipe -------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Messages end with a NUL byte."""
        pending = b""
        while data := os.read(self._read, 1 << 20):
            *messages, pending = (pending + data).split(b"\0")
            for message in messages:
                self._take(json.loads(message))
        os.close(self._read)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message: dict) -> None:
        with self._changed:
            if "id" in message:
                self._answers[message["id"]] = message
                self._changed.notify_all()
            elif complaint := _complaint(message["method"], message.get("params", {})):
                if NETWORK_CHANGED in complaint:
                    self._is_interrupted = True
                else:
                    self.complaints.append(complaint)

    def _ask(self, method: str, session: str | None, parameters: dict) -> dict:
        with self._changed:
            self._number += 1
            number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data):]
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._ended, ANSWER_SECONDS)
            answer = self._answers.pop(number, {"error": "no answer"})
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def tell(self, method: str, **parameters: object) -> dict:
        """One DevTools command to the page."""
        return self._ask(method, self._session, parameters)

    def _open(self) -> None:
        target = self._ask("Target.createTarget", None, {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", None, {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    # ---- the page -------------------------------------------------------------------------------

    def size(self, width: int, height: int, dark: bool = False) -> None:
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Forgets what the page before complained of."""
        for _ in range(LOADS_MAX):
            with self._changed:
                self.complaints.clear()
                self._is_interrupted = False
            failed = self.tell("Page.navigate", url=url).get("errorText")
            if failed and NETWORK_CHANGED not in failed:
                raise AssertionError(f"{url}: {failed}")
            if not failed:
                self.wait("document.readyState === 'complete'")
            if not failed and not self._is_interrupted:
                return
            time.sleep(0.5)
        raise AssertionError(f"{url}: the network changed each time")

    def value(self, expression: str) -> object:
        """What the expression is in the page, as JSON; a promise is awaited."""
        done = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def text(self, selector: str) -> str:
        """What a reader sees there; empty when there is no such element."""
        found = self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return " ".join(str(found).split())

    def click(self, selector: str) -> None:
        if not self.value(f"(document.querySelector({json.dumps(selector)})?.click(), "
                          f"document.querySelector({json.dumps(selector)}) !== null)"):
            raise AssertionError(f"nothing to click: {selector}")

    def wait(self, expression: str, seconds: float = 10.0) -> None:
        """Until it is true."""
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {expression}\n{self.text('body')[:3000]}")
            time.sleep(0.1)

    def picture(self, path: Path, whole: bool = False) -> None:
        """A PNG of what is on screen, or of the whole page."""
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


def _complaint(method: str, parameters: dict) -> str:
    if method == "Runtime.exceptionThrown":
        details = parameters["exceptionDetails"]
        return "exception: " + str(details.get("exception", {}).get("description", details["text"]))
    if method == "Runtime.consoleAPICalled":
        said = [str(one.get("value", one.get("description", ""))) for one in parameters["args"]]
        return f"console.{parameters['type']}: " + " ".join(said)
    if method == "Log.entryAdded":
        entry = parameters["entry"]
        return f"{entry['source']}: {entry['text']} {entry.get('url', '')}"
    return ""
