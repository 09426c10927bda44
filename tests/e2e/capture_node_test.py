#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What of a node capture touches, and what it leaves alone. Test names carry the rule of docs/capture.md
that they show."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import WEB_V4, WEB_V6, CaptureCase  # noqa: E402
from cgroup_programs import attach_harmless, cgroup2_root, programs_of_all_cgroups  # noqa: E402
from netns import ip  # noqa: E402
from nodeproxy import in_netns  # noqa: E402

SECOND_GATEWAY_V4, SECOND_GATEWAY_V6 = "10.246.0.1", "fd00:246::1"
SECOND_V4, SECOND_V6 = "10.246.0.11", "fd00:246::11"


class TwoInterfaces(CaptureCase):
    NAME = "npnod2"

    def add_second_interface(self) -> str:
        """eth1 of the client pod, as a second network's plug-in makes it; returns the host end's name."""
        host, pod, veth = self.host.netns, self.client.netns, f"{self.NAME}b"
        ip("link", "add", veth, "type", "veth", "peer", "name", "eth1", "netns", pod, netns=host)
        ip("link", "set", veth, "up", netns=host)
        ip("link", "set", "eth1", "up", netns=pod)
        for own, gateway in ((f"{SECOND_V4}/32", SECOND_GATEWAY_V4), (f"{SECOND_V6}/128", SECOND_GATEWAY_V6)):
            family = "-6" if ":" in own else "-4"
            mask = "128" if ":" in own else "32"
            ip(family, "address", "add", own, "dev", "eth1", *(["nodad"] if ":" in own else []), netns=pod)
            ip(family, "address", "add", f"{gateway}/{mask}", "dev", veth, *(["nodad"] if ":" in own else []), netns=host)
            ip(family, "route", "add", own, "dev", veth, netns=host)
            ip(family, "route", "add", gateway, "dev", "eth1", netns=pod)
            ip(family, "route", "add", "default", "via", gateway, "dev", "eth1", "metric", "2000", netns=pod)
        return veth

    def test_r11_only_the_registered_interface_of_a_pod_is_captured(self) -> None:
        self.add_pods()
        self.serve("v1")
        veth = self.add_second_interface()
        second = json.loads(ip("-j", "link", "show", "dev", veth, netns=self.host.netns))[0]["ifindex"]
        # The route of the service says v1, so that "v2" can only come from the dialled pod itself.
        for address in (self.web["v2"].ipv4, f"[{self.web['v2'].ipv6}]"):
            url = f"http://{address}:8080/"
            self.assertEqual(self.client.curl(url, "--interface", "eth0"), "v1\n 200", "registered: captured")
            before = self.stats()
            self.assertEqual(self.client.curl(url, "--interface", "eth1"), "v2\n 200", "not registered: direct")
            after = self.stats()
            self.assertEqual(after["captured"], before["captured"])
            self.assertEqual(after["spoof"], before["spoof"], "no program of ours saw it")
        self.assertNotIn(second, [flow["key"]["ifindex"] for flow in self.flows()])
        listed = self.daemon.ctl("pod", "list", "-o", "wide").stdout
        self.assertIn(self.client.veth, listed)
        self.assertNotIn(veth, listed)


class Hooks:
    """R19, for both kinds of pods. PREROUTING of the host at its first priority counts what it sees."""

    def prerouting_counts(self) -> dict[str, int]:
        listed = self.host.run("nft", "-j", "list", "counters", "table", "inet", "np_e2e").stdout
        counters = [entry["counter"] for entry in json.loads(listed)["nftables"] if "counter" in entry]
        return {counter["name"]: counter["packets"] for counter in counters}

    def count_prerouting(self) -> None:
        c, pods = self.client, self.web.values()
        v4 = ", ".join([WEB_V4, *(pod.ipv4 for pod in pods)])
        v6 = ", ".join([WEB_V6, *(pod.ipv6 for pod in pods)])
        rules = f"""
        table inet np_e2e {{
          counter leg {{ }}
          counter direct {{ }}
          chain first {{
            type filter hook prerouting priority raw - 100;
            ip saddr {c.ipv4} ip daddr {{ {v4} }} tcp dport {{ 80, 8080 }} counter name leg
            ip daddr {c.ipv4} ip saddr {{ {v4} }} tcp sport {{ 80, 8080 }} counter name leg
            ip6 saddr {c.ipv6} ip6 daddr {{ {v6} }} tcp dport {{ 80, 8080 }} counter name leg
            ip6 daddr {c.ipv6} ip6 saddr {{ {v6} }} tcp sport {{ 80, 8080 }} counter name leg
            ip saddr {c.ipv4} tcp dport 7777 counter name direct
            ip6 saddr {c.ipv6} tcp dport 7777 counter name direct
          }}
        }}"""
        subprocess.run(in_netns(self.host.netns, ["nft", "-f", "-"]), input=rules, text=True, check=True)

    def dial_directly(self) -> None:
        """An uncovered port: refused by the pod, after its SYN went the ordinary way."""
        pod = self.web["v1"]
        for address in (pod.ipv4, f"[{pod.ipv6}]"):
            self.assertTrue(self.client.curl(f"http://{address}:7777/").endswith("000"))

    def check_r19(self, sees_direct: bool) -> None:
        self.count_prerouting()
        pod = self.web["v2"]
        for _ in range(5):
            for url in (f"http://{WEB_V4}/", f"http://[{WEB_V6}]/", f"http://{pod.ipv4}:8080/", f"http://[{pod.ipv6}]:8080/"):
                self.assertEqual(self.client.curl(url), "v1\n 200")
        self.dial_directly()
        counts = self.prerouting_counts()
        self.assertEqual(counts["leg"], 0, "a frame of the capture leg met PREROUTING")
        if sees_direct:
            self.assertGreaterEqual(counts["direct"], 2, "the counters work: direct traffic is seen in both families")


class RoutedHooks(Hooks, CaptureCase):
    NAME = "npnodr"

    def test_r19_the_capture_leg_of_a_routed_pod_meets_no_prerouting_hook(self) -> None:
        self.add_pods()
        self.serve("v1")
        self.check_r19(sees_direct=True)


class BridgedHooks(Hooks, CaptureCase):
    NAME = "npnodb"
    BRIDGED = True

    def test_r19_the_capture_leg_of_a_bridged_pod_is_not_seen_by_bridge_netfilter(self) -> None:
        self.add_pods()
        self.serve("v1")
        has_bridge_netfilter = Path("/proc/sys/net/bridge").exists()
        if has_bridge_netfilter:
            for name in ("iptables", "ip6tables"):
                self.host.sysctl(f"net.bridge.bridge-nf-call-{name}", 1)
        # Without the module bridged frames meet no such hook, captured or not.
        self.check_r19(sees_direct=has_bridge_netfilter)


class Cgroups(CaptureCase):
    NAME = "npnodc"

    def test_r50_nothing_of_the_instance_is_attached_to_a_cgroup(self) -> None:
        self.add_pods()
        self.serve("v1", source="pod")
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        own = self.own_programs()
        self.assertGreaterEqual(len(own), 4, "the programs of the instance are known")
        self.assertEqual(own & programs_of_all_cgroups(), set())
        # The look finds what is there: a program at a cgroup below the root.
        cgroup = cgroup2_root() / self.NAME
        cgroup.mkdir(exist_ok=True)
        self.addCleanup(cgroup.rmdir)
        self.assertIn(attach_harmless(cgroup), programs_of_all_cgroups())

    def own_programs(self) -> set[int]:
        """Ids of all programs that use a map of the instance: pinned or not, attached or not."""
        maps = {self.shown("map", pin)["id"] for pin in self.pins("maps")}
        listed = json.loads(subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True,
                                           check=True).stdout)
        return {program["id"] for program in listed if maps & set(program.get("map_ids", []))}

    def pins(self, kind: str) -> list[Path]:
        return sorted(Path(f"/sys/fs/bpf/{self.NAME}/v1/{kind}").iterdir())

    @staticmethod
    def shown(kind: str, pin: Path) -> dict:
        done = subprocess.run(["bpftool", "-j", kind, "show", "pinned", str(pin)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
