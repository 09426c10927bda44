// SPDX-License-Identifier: Apache-2.0
// Section 2: latency percentiles and request rate over time, of all services or of one.

import { byId, h, Keyed, setAttr, setText } from "./dom.js";
import { byName, millis, rate } from "./format.js";
import { F, KEEP_MS } from "./history.js";
import { Chart } from "./chart.js";
import { quantile } from "./quantile.js";
import { Timeline } from "./summary.js";

const MINUTE = 60000;

// The time axis grows with what is known: a page just opened shows two minutes.
const RANGES = [
  { ms: 2 * MINUTE, binMs: 2000 },
  { ms: 5 * MINUTE, binMs: 4000 },
  { ms: KEEP_MS, binMs: 10000 },
];

export class Charts {
  constructor(history, { onChoose }) {
    this.history = history;
    this.timeline = new Timeline(history);
    this.picker = byId("chart-service");
    this.picker.addEventListener("change", () => onChoose(this.picker.value || null));
    this.options = new Keyed(
      this.picker,
      () => ({ element: h("option", {}) }),
      (entry, service) => {
        setText(entry.element, service.key === "" ? "All services" : service.label);
        setAttr(entry.element, "value", service.key);
      },
    );
    this.latency = new Chart(byId("chart-latency"), {
      label: "Latency",
      isLog: true,
      format: millis,
      lines: [
        { label: "p50", cls: "p50" },
        { label: "p90", cls: "p90" },
        { label: "p99", cls: "p99" },
      ],
    });
    this.rate = new Chart(byId("chart-rate"), {
      label: "Requests per second",
      isLog: false,
      format: rate,
      lines: [
        { label: "all", cls: "all", area: true },
        { label: "rate limited", cls: "limited", isExtra: true },
        { label: "failed", cls: "failed", area: true, isExtra: true },
      ],
    });
  }

  update(summary, chosen) {
    this.fillPicker(summary, chosen);
    if (this.timeline.key !== chosen) this.timeline.choose(chosen);
    const { samples, nowMs, restarts, boundsMs } = this.history;
    const known = samples.length > 0 ? nowMs - samples[0].t : 0;
    const range = RANGES.find(({ ms }) => known <= ms) || RANGES[RANGES.length - 1];
    const to = Math.ceil(nowMs / range.binMs) * range.binMs;
    const bins = this.timeline.bins(to - range.ms, range.binMs);
    const common = { from: to - range.ms, to, restarts };
    const isQuiet = !bins.some((bin) => bin.vector[F.requests] > 0);
    const emptyText = samples.length === 0 ? "Measuring…" : "No requests in this time.";
    common.emptyText = isQuiet ? emptyText : "";
    const points = (read) =>
      bins.map((bin) => ({ t: bin.t, isAfterGap: bin.isAfterGap, values: read(bin) }));
    const perSecond = (bin, field) => bin.vector[field] / (bin.ms / 1000);
    this.latency.update({
      ...common,
      points: points((bin) => [0.5, 0.9, 0.99].map((q) => quantile(bin.vector, boundsMs, q))),
    });
    this.rate.update({
      ...common,
      points: points((bin) => [F.requests, F.limited, F.failed].map((f) => perSecond(bin, f))),
    });
  }

  fillPicker(summary, chosen) {
    const called = [...summary.services.values()].filter((service) => service.isCalled);
    const names = new Map();
    for (const { name } of called) names.set(name, (names.get(name) || 0) + 1);
    const options = called
      .map(({ key, name, namespace }) => ({
        key,
        label: names.get(name) > 1 ? name + " (" + namespace + ")" : name,
      }))
      .sort((a, b) => byName(a.label, b.label));
    this.options.update([{ key: "" }, ...options], (option) => option.key);
    const value = chosen || "";
    if (this.picker.value !== value) this.picker.value = value;
  }
}
