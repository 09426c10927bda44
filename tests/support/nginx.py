# SPDX-License-Identifier: Apache-2.0
"""A real nginx as origin: one server per port, each answering with its own name."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from nodeproxy import in_netns, wait_until

CONFIG = """
daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  log_format port '"$request" $status $body_bytes_sent $server_port $remote_addr';
  access_log {access}; keepalive_requests 1000000; keepalive_timeout 300s;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
{servers}
}}
"""
SERVER = """
  server {{ listen {address} backlog=4096; add_header x-origin {name} always;
    location / {{ return 200 "{name}\\n"; }}
    location /close {{ keepalive_timeout 0; return 200 "{name}\\n"; }}
    location /status/500 {{ return 500 "broken\\n"; }}
  }}
"""


class Nginx:
    """`servers` maps a listen address ("127.0.0.1:9001") to the name it answers with."""

    def __init__(self, servers: dict[str, str], netns: str | None = None, access_log: bool = False) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="np-nginx-"))
        text = "".join(SERVER.format(address=address, name=name) for address, name in servers.items())
        access = f"{self.dir}/access.log port" if access_log else "off"
        (self.dir / "nginx.conf").write_text(CONFIG.format(dir=self.dir, servers=text, access=access))
        self.access_log = self.dir / "access.log"
        self.probe = next(iter(servers)).replace("0.0.0.0", "127.0.0.1")
        self.netns = netns
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Nginx":
        command = in_netns(self.netns, ["nginx", "-c", str(self.dir / "nginx.conf"), "-e", str(self.dir / "error.log")])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        curl = in_netns(self.netns, ["curl", "-s", "-o", "/dev/null", "-m", "1", f"http://{self.probe}/"])
        try:
            wait_until(lambda: subprocess.run(curl, check=False).returncode == 0, 10, "nginx answers")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def peers(self) -> list[str]:
        """The client address of each logged request except our own start-up probes."""
        lines = self.access_log.read_text().splitlines() if self.access_log.exists() else []
        addresses = [line.split()[-1] for line in lines]
        return [address for address in addresses if address not in ("127.0.0.1", "::1")]

    def requests_seen(self) -> int:
        time.sleep(0.1)  # nginx writes its log after the answer
        return len(self.access_log.read_text().splitlines()) if self.access_log.exists() else 0
