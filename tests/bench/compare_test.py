#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parts of tools/bench that compute or write, without a machine to measure."""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from compare import docs_writer, loads, measuring, musts, render, rows, table, values  # noqa: E402
from compare.axes import AXES, add_added_latency, notes_of  # noqa: E402
from compare.bench import Result  # noqa: E402
from compare.checking import Check, stall_percentile  # noqa: E402
from compare.main import chosen_rows, parse, settings_of  # noqa: E402
from compare.measure import Counters, sample_of  # noqa: E402
from compare.peers import endpoint_addresses  # noqa: E402
from compare.report import as_json  # noqa: E402

# What each configuration's places are filled with here.
FILLED = {name: name for name in ("dir", "bodies", "files", "connections", "port", "status_port", "body",
                                  "workers", "address", "servers", "keepalive", "routes", "shards", "endpoints",
                                  "upstream_connections", "service_address", "origin_port", "origin_address")}
STRUCTURAL_MARKS = {"several-workers", "many-endpoints", "many-routes", "changed", rows.QUEUE}

PROC_STAT = """cpu  30 0 20 900 10 0 40 5 0 0
cpu0 20 0 10 400 10 0 30 5 0 0
cpu1 10 0 10 500 0 0 10 0 0 0
intr 1 2 3
"""
WRK = """Running 2s test @ http://127.0.0.1:19000/
  1 threads and 32 connections
  Latency Distribution
     50%  580.00us
     75%    1.20ms
     90%    2.50ms
     99%    1.01s
  60210 requests in 2.00s, 12.02MB read
  Socket errors: connect 0, read 3, write 1, timeout 2
  Non-2xx or 3xx responses: 10
Requests/sec:  30105.00
"""
H2LOAD = """finished in 2.01s, 27432.50 req/s, 3.02MB/s
requests: 55000 total, 54990 started, 54990 done, 54980 succeeded, 10 failed, 10 errored, 0 timeout
status codes: 54970 2xx, 0 3xx, 10 4xx, 0 5xx
"""


def report(**changes: object) -> dict:
    base = {"completed": 1000, "sent": 1000, "requests_per_second": 500.0, "status": {"200": 1000},
            "body_bytes": 128_000, "errors": {"reset": 0}, "latency_us": {"p50": 10.0, "p99": 20.0, "p999": 30.0}}
    return base | changes


def counters(busy: int = 0, usage: measuring.Usage | None = None, run_us: int = 0, accepted: int = 0,
             total: int = 0, at_seconds: float = 0.0) -> Counters:
    machine = measuring.Machine({0: busy, 1: 0}, {0: 0, 1: 0}, {0: total, 1: total})
    return Counters(at_seconds, machine, usage, run_us, accepted)


class Rounds(unittest.TestCase):
    def test_summary_is_median_and_bounds(self) -> None:
        self.assertEqual(values.summarize([3.0, 1.0, 2.0]), values.Summary(2.0, 1.0, 3.0))
        self.assertIsNone(values.summarize([]))

    def test_ratio_is_taken_round_by_round(self) -> None:
        # Both sides were twice as slow in the second round: their ratio was not.
        ours, theirs = [{"cpu_us": 6.0}, {"cpu_us": 12.0}], [{"cpu_us": 10.0}, {"cpu_us": 20.0}]
        self.assertEqual(values.ratio(ours, theirs, "cpu_us"), values.Summary(0.6, 0.6, 0.6))

    def test_ratio_leaves_out_what_was_not_measured(self) -> None:
        ours, theirs = [{"p99_us": 6.0}, {}, {"p99_us": 3.0}], [{"p99_us": 0.0}, {"p99_us": 1.0}, {"p99_us": 4.0}]
        self.assertEqual(values.ratio(ours, theirs, "p99_us"), values.Summary(0.75, 0.75, 0.75))
        self.assertIsNone(values.ratio([{}], [{"p99_us": 1.0}], "p99_us"))

    def test_added_latency_is_through_minus_direct_of_the_same_round(self) -> None:
        samples = {"nodeproxy": [{"p50_us": 50.0}, {"p50_us": 70.0}],
                   rows.DIRECT: [{"p50_us": 20.0}, {"p50_us": 30.0}]}
        add_added_latency(samples)
        self.assertEqual([sample["added_p50_us"] for sample in samples["nodeproxy"]], [30.0, 40.0])
        self.assertNotIn("added_p50_us", samples[rows.DIRECT][0])


class Counting(unittest.TestCase):
    def test_cpu_stat(self) -> None:
        text = "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 0\n"
        self.assertEqual(measuring.parse_cpu_stat(text), measuring.Usage(30, 10, 20))

    def test_idle_waiting_and_stolen_time_is_not_busy(self) -> None:
        machine = measuring.parse_proc_stat(PROC_STAT)
        tick = measuring.US_PER_TICK
        self.assertEqual(machine.busy_us, {0: 60 * tick, 1: 30 * tick})
        self.assertEqual(machine.stolen_us, {0: 5 * tick, 1: 0})
        self.assertAlmostEqual(machine.idle_percent([1]), 100 * 500 / 530)

    def test_a_sample_divides_by_the_answers(self) -> None:
        first = counters(usage=measuring.Usage(0, 0, 0))
        last = counters(busy=50_000, usage=measuring.Usage(20_000, 5000, 15_000), run_us=45_000, accepted=33,
                        total=100_000)
        sample = sample_of(report(), rows.Load(), first, last, [1])
        self.assertEqual((sample["cpu_us"], sample["user_us"], sample["kernel_us"]), (20.0, 5.0, 15.0))
        self.assertEqual((sample["machine_us"], sample["per_core"]), (50.0, 50_000.0))
        self.assertEqual(sample["opened"], 32.0, "our own look at the counters is no connection of a peer")
        self.assertEqual(sample["foreign"], 2.5)
        self.assertEqual(sample["load_idle"], 100.0)
        self.assertNotIn("mib_s", sample)

    def test_counters_read_late_are_told(self) -> None:
        # 1000 answers at 500 a second take 2 s; the counters were 1.5 s apart.
        sample = sample_of(report(), rows.Load(), counters(at_seconds=10.0), counters(at_seconds=11.5, total=100), [1])
        self.assertAlmostEqual(sample["late"], 25.0)
        made = Result(rows.Row("one", "a row"), samples={"nginx": [sample]})
        self.assertTrue(any("25 % too low" in note for note in notes_of(made)))

    def test_every_wrong_answer_is_an_error(self) -> None:
        bad = report(status={"200": 990, "503": 10}, errors={"reset": 2, "timeout": 3})
        self.assertEqual(loads.errors_of(bad), 15)

    def test_no_answer_at_all_has_errors_and_no_figures(self) -> None:
        sample = sample_of(report(completed=0, status={}, errors={"connect": 7}), rows.Load(), counters(),
                           counters(total=100), [1])
        self.assertEqual(sample["errors"], 7)
        self.assertNotIn("rps", sample)

    def test_bytes_per_second_of_large_bodies_both_ways(self) -> None:
        down = sample_of(report(body_bytes=1000 * 1024 * 1024), rows.Load(), counters(), counters(total=100), [1])
        up = sample_of(report(), rows.Load(body_bytes=2 * 1024 * 1024), counters(), counters(total=100), [1])
        self.assertEqual((down["mib_s"], up["mib_s"]), (500.0, 1000.0))

    def test_memory_lines(self) -> None:
        self.assertEqual(measuring.parse_kilobytes("Rss: 10 kB\nPss:   7 kB\n", "Pss"), 7 * 1024)
        with self.assertRaises(ValueError):
            measuring.parse_kilobytes("Rss: 10 kB\n", "Pss")


class Tools(unittest.TestCase):
    def test_wrk(self) -> None:
        parsed = loads.parse_wrk(WRK)
        self.assertEqual((parsed["completed"], parsed["requests_per_second"]), (60210, 30105.0))
        self.assertEqual(parsed["latency_us"], {"p50": 580.0, "p75": 1200.0, "p90": 2500.0, "p99": 1.01e6})
        self.assertEqual(loads.errors_of(parsed), 16)

    def test_h2load(self) -> None:
        parsed = loads.parse_h2load(H2LOAD)
        self.assertEqual((parsed["completed"], parsed["requests_per_second"]), (54980, 27432.5))
        self.assertEqual(loads.errors_of(parsed), 20)

    def test_output_that_is_no_report_is_a_failure(self) -> None:
        with self.assertRaises(loads.LoadFailed):
            loads.parse_wrk("unable to connect")

    def test_a_stall_makes_the_percentiles_known(self) -> None:
        # A tenth of the requests waits, evenly between 0 and half a second.
        self.assertAlmostEqual(stall_percentile(0.99, 0.5, 5.0), 450_000)
        self.assertEqual(stall_percentile(0.5, 0.5, 5.0), 0.0)

    def test_a_check_can_fail(self) -> None:
        self.assertTrue(Check("rate", 90, 100, 0.10, "").is_good)
        self.assertFalse(Check("rate", 80, 100, 0.10, "").is_good)


class Configurations(unittest.TestCase):
    def test_marks_choose_lines_and_reasons_are_left_out(self) -> None:
        text = "# why\na;  # because\n[log] b @port@;\n[!log] c;\n[log] [!many] d;\n"
        self.assertEqual(render.render(text, {"port": 7}, {"log"}), "a;\nb 7;\nd;\n")
        self.assertEqual(render.render(text, {"port": 7}, {"log", "many"}), "a;\nb 7;\n")
        self.assertEqual(render.render(text, {}, set()), "a;\nc;\n")

    def test_a_place_without_a_value_is_refused(self) -> None:
        with self.assertRaises(KeyError):
            render.render("listen @port@;", {})

    def test_the_committed_ones_render_with_every_feature(self) -> None:
        for path in sorted(render.CONF.iterdir()):
            text = path.read_text()
            for features in (set(), render.features_named(text)):
                done = render.render(text, FILLED, features)
                self.assertNotRegex(done, r"(?m)^\[|@[a-z_]+@|  # ", path.name)

    def test_every_feature_of_a_row_is_known_to_ours_and_no_mark_is_misspelt(self) -> None:
        named = {path.name: render.features_named(path.read_text()) for path in render.CONF.iterdir()}
        known = {*rows.FEATURES, *STRUCTURAL_MARKS}
        for name, features in named.items():
            self.assertLessEqual(features, known, name)
        self.assertLessEqual(set(rows.FEATURES), named["nodeproxy.yaml"] | named["nodeproxyd.conf"])

    def test_many_endpoints_are_different_addresses(self) -> None:
        addresses = endpoint_addresses(10_000, "127.0.0.1")
        self.assertEqual(len(set(addresses)), 10_000)
        self.assertTrue(all(0 < int(part) < 256 for one in addresses for part in one.split(".")[3:]))
        self.assertEqual(endpoint_addresses(1, "10.0.0.1"), ["10.0.0.1"])


class Rows(unittest.TestCase):
    def test_names_are_unique_and_kinds_exist(self) -> None:
        names = [row.id for row in rows.ROWS]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({row.kind for row in rows.ROWS}, set(AXES))
        self.assertLessEqual({row.load.tool for row in rows.ROWS}, {"np_load", *loads.WARMED_TOOLS})

    def test_choosing(self) -> None:
        quick = chosen_rows(parse(["--quick"]))
        self.assertIn("keepalive-32", [row.id for row in quick])
        self.assertLess(len(quick), 8)
        self.assertEqual([row.id for row in chosen_rows(parse(["--rows", "^crowd$"]))], ["crowd"])
        by_id = {row.id: row for row in rows.ROWS}
        shortened = settings_of(parse(["--seconds", "1", "--rounds", "2"]), 100)
        self.assertEqual({shortened.rounds_of(row) for row in rows.ROWS}, {2})
        full = settings_of(parse([]), 100)
        self.assertEqual(full.rounds_of(by_id["keepalive-32"]), 5)
        self.assertEqual(full.rounds_of(by_id["crowd"]), 5)
        self.assertEqual(full.rounds_of(by_id["routes-100"]), 3)

    def test_only_full_runs_are_kept(self) -> None:
        for shortened in (["--quick"], ["--rows", "x"], ["--rounds", "1"], ["--seconds", "1"]):
            with self.assertRaises(SystemExit), open("/dev/null", "w") as nowhere:
                stderr, sys.stderr = sys.stderr, nowhere
                try:
                    parse(["--write-docs", *shortened])
                finally:
                    sys.stderr = stderr


def result() -> Result:
    made = Result(rows.Row("one", "a row"), rate=1000.0)
    for cost in (6.0, 7.0):
        made.add(rows.OURS, {"cpu_us": cost, "load_idle": 50.0, "errors": 0.0, "requests": 10.0})
        made.add("nginx", {"cpu_us": 10.0, "load_idle": 10.0, "errors": 2.0, "requests": 10.0, "foreign": 9.0})
    return made


class Telling(unittest.TestCase):
    def test_a_block_has_contestants_and_ratios(self) -> None:
        lines = table.block(result()).splitlines()
        self.assertEqual(lines[0], "one: a row, at 1000 req/s")
        self.assertEqual(lines[1].split(), ["CPU", "us/req", "load", "idle", "%", "errors"])
        self.assertEqual(lines[2].split(), ["nodeproxy", "6.50", "[6.00", "7.00]", "50", "0"])
        self.assertEqual(lines[3].split(), ["nginx", "10.00", "10", "2"])
        self.assertEqual(lines[4].split(), ["nodeproxy", "/", "nginx", "0.65", "[0.60", "0.70]"])

    def test_what_casts_doubt_is_said(self) -> None:
        notes = notes_of(result())
        self.assertTrue(any("NOISE: other work used up to 9 %" in note for note in notes), notes)
        self.assertTrue(any("(nginx)" in note and "15 %" in note for note in notes), notes)
        self.assertIn("nginx: 4 requests had no right answer", notes)

    def test_what_must_hold(self) -> None:
        found = Result(rows.Row("latency-50", ""))
        for p99, nginx, haproxy in ((100.0, 200.0, 90.0), (100.0, 210.0, 80.0), (100.0, 190.0, 125.0)):
            for label, value in ((rows.OURS, p99), ("nginx", nginx), ("haproxy", haproxy)):
                found.add(label, {"p99_us": value})
        memory = Result(rows.Row("idle-memory", ""))
        memory.add(rows.OURS, {"idle_user": 600.0})
        failed = Result(rows.Row("crowd", ""), failed=True)
        failed.add(rows.OURS, {"times_alone": 1.0})
        lines = musts.must_table([found, memory, failed]).splitlines()
        self.assertEqual(lines[2:], [
            "| latency-50 | p99 | <= 1 x the best peer | 1.11 [0.80 1.25] haproxy | no |",
            "| idle-memory | user bytes per idle connection | <= 1024 | 600 [600 600] | yes |"])
        self.assertEqual(musts.must_table([result()]), "")

    def test_musts_are_of_rows_and_figures_that_exist(self) -> None:
        by_id = {row.id: row for row in rows.ROWS}
        for must in musts.MUSTS:
            self.assertIn(must.key, [metric.key for metric in values.METRICS])
            known = (None, musts.BEST, *by_id[must.row].others, by_id[must.row].baseline_title)
            self.assertIn(must.against, known)

    def test_a_failed_row_is_shown_as_one(self) -> None:
        failed = Result(rows.Row("one", "a row"), notes=["RuntimeError: it fell over"], failed=True)
        self.assertEqual(table.block(failed), "one: a row\n  FAILED RuntimeError: it fell over\n")

    def test_json(self) -> None:
        made = as_json({"date": "today"}, [result()])
        (row,) = made["rows"]
        ratio = row["contestants"]["nginx"]["ours_to_it"]["cpu_us"]
        self.assertEqual({name: round(value, 6) for name, value in ratio.items()},
                         {"median": 0.65, "low": 0.6, "high": 0.7})
        self.assertEqual(row["contestants"][rows.OURS]["metrics"]["cpu_us"]["rounds"], [6.0, 7.0])
        self.assertFalse(row["failed"])

    def test_docs_keep_what_is_around_the_results(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text(f"before\n{docs_writer.BEGIN}\nold\n{docs_writer.END}\nafter\n")
            docs_writer.write_docs({"date": "today"}, [result()], page)
            text = page.read_text()
            self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
            self.assertIn("* date: today", text)
            self.assertIn("nodeproxy / nginx", text)
            self.assertNotIn("old", text)
            docs_writer.write_docs({"date": "today"}, [result()], page)
            self.assertEqual(page.read_text(), text)

    def test_a_page_without_a_place_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            docs_writer.replaced("nothing here", "text")


if __name__ == "__main__":
    unittest.main()
