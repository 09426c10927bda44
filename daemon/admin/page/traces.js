// SPDX-License-Identifier: Apache-2.0
// Section 7: the newest traces, and one of them in full. Asked for only while it is on screen.

import { arrange, byId, h, Keyed, setAttr, setClass, setText, setWidth, show } from "./dom.js";
import { byName, clock, count, list, millis, number, plural, text } from "./format.js";
import { shortHost } from "./names.js";
import { getJson, Poller } from "./poller.js";
import { Table } from "./table.js";
import { drawWaterfall } from "./waterfall.js";

const EVERY_MS = 2000;
const LIMIT = 200;
const MOST_NAMES = 500;

function isError(trace) {
  return trace.error === true || number(trace.status) >= 500;
}

function makeDuration(cell) {
  const bar = h("i", { class: "fill neutral" });
  const label = h("span", { class: "num" });
  cell.append(label, h("div", { class: "meter" }, bar));
  return { bar, label };
}

function drawDuration({ bar, label }, { trace, longest }) {
  const duration = number(trace.duration_us);
  setText(label, millis(duration / 1000));
  setWidth(bar, longest > 0 ? duration / longest : 0);
  setClass(bar, "fill " + (isError(trace) ? "bad" : "neutral"));
}

function drawStatus(_, { trace }, cell) {
  const status = number(trace.status);
  const isBad = isError(trace);
  setText(cell, (status || "none") + (isBad ? " error" : ""));
  setClass(cell, "num health " + (isBad ? "bad" : status < 400 ? "ok" : "warn"));
}

function pathText({ trace }) {
  return [text(trace.source), shortHost(trace.host)].filter(Boolean).join(" → ");
}

export class Traces {
  constructor({ onOpen }) {
    this.onOpen = onOpen;
    this.traces = [];
    this.open = null;
    this.names = new Set();
    this.service = byId("trace-service");
    this.status = byId("trace-status");
    this.duration = byId("trace-duration");
    this.search = byId("trace-text");
    for (const control of [this.service, this.status, this.duration, this.search]) {
      control.addEventListener("input", () => this.ask());
    }
    this.services = new Keyed(
      this.service,
      () => ({ element: h("option", {}) }),
      ({ element }, name) => {
        setText(element, name === "" ? "All services" : name);
        setAttr(element, "value", name);
      },
    );
    byId("trace-close").addEventListener("click", () => this.onOpen(null));
    this.table = this.makeTable();
    setText(this.table.empty, this.emptyText());
    this.poller = new Poller({
      path: () => "api/traces?" + this.query(),
      everyMs: EVERY_MS,
      onData: (traces) => this.onTraces(traces),
      onFailure: () => this.onFailure(),
    });
    this.poller.isWanted = false;
    const seen = new IntersectionObserver((entries) => {
      this.poller.want(entries[entries.length - 1].isIntersecting);
    });
    seen.observe(byId("traces"));
  }

  // The daemon looks through all that it keeps, which is far more than the list shows.
  query() {
    const query = new URLSearchParams({ limit: LIMIT });
    const wanted = {
      service: this.service.value,
      errors: this.status.value === "error" ? "true" : "",
      min_duration_ms: this.duration.value === "0" ? "" : this.duration.value,
      text: this.search.value.trim(),
    };
    for (const [name, value] of Object.entries(wanted)) if (value) query.set(name, value);
    return query.toString();
  }

  isFiltered() {
    return this.status.value !== "" || this.query() !== "limit=" + LIMIT;
  }

  ask() {
    this.draw();
    this.poller.again();
  }

  makeTable() {
    const table = new Table(byId("traces-box"), {
      label: "Recent traces",
      keyOf: (row) => row.id,
      empty: "",
      sortBy: 0,
      descending: true,
      columns: [
        {
          title: "Started",
          sort: ({ trace }) => number(trace.start_unix_us),
          text: ({ trace }) => clock(number(trace.start_unix_us) / 1000),
          cls: "short",
        },
        {
          title: "Request",
          cls: "name",
          sort: (row) => pathText(row),
          make: (cell) => this.makeName(cell),
          draw: (state, row) => this.drawName(state, row),
        },
        {
          title: "Took",
          cls: "limit",
          sort: ({ trace }) => number(trace.duration_us),
          make: makeDuration,
          draw: drawDuration,
        },
        {
          title: "Spans",
          num: true,
          sort: ({ trace }) => number(trace.spans),
          text: ({ trace }) => count(number(trace.spans)),
        },
        { title: "Status", num: true, sort: ({ trace }) => number(trace.status), draw: drawStatus },
      ],
    });
    table.rowClass = (row) => (row.id === this.open ? "chosen" : "");
    return table;
  }

  makeName(cell) {
    const state = { path: h("span", {}), name: h("span", { class: "muted" }), id: "" };
    const open = () => this.onOpen(state.id);
    state.button = h("button", { type: "button", class: "link", on: { click: open } }, state.path);
    cell.append(state.button, " ", state.name);
    return state;
  }

  drawName(state, row) {
    state.id = row.id;
    setText(state.path, pathText(row) || row.id);
    setText(state.name, text(row.trace.name));
    setAttr(state.button, "title", "Trace " + row.id);
    setAttr(state.button, "aria-pressed", String(row.id === this.open));
  }

  onTraces(traces) {
    this.traces = list(traces).map((trace) => ({ id: text(trace.id), trace }));
    this.hasFailed = false;
    this.hasAnswer = true;
    this.fillServices();
    this.draw();
  }

  onFailure() {
    this.hasFailed = true;
    this.draw();
  }

  fillServices() {
    const names = this.names;
    if (names.size > MOST_NAMES) names.clear();
    for (const { trace } of this.traces) {
      if (text(trace.source)) names.add(text(trace.source));
      // Of what reached no service only the address that was asked for is known.
      const host = shortHost(trace.host);
      if (host && !host.includes("/")) names.add(host);
    }
    if (this.service.value) names.add(this.service.value);
    this.services.update(["", ...[...names].sort(byName)], (name) => name);
  }

  isShown({ trace }) {
    const status = this.status.value;
    if (status === "error" && !isError(trace)) return false;
    const hundreds = Math.floor(number(trace.status) / 100);
    if (status !== "" && status !== "error" && hundreds !== Number(status)) return false;
    return number(trace.duration_us) >= Number(this.duration.value) * 1000;
  }

  draw() {
    const shown = this.traces.filter((row) => this.isShown(row));
    const longest = Math.max(0, ...shown.map(({ trace }) => number(trace.duration_us)));
    this.table.update(shown.map((row) => ({ ...row, longest })));
    setText(this.table.empty, this.emptyText());
    setText(byId("traces-count"), this.traces.length > 0 ? this.countText(shown.length) : "");
    show(byId("trace-filters"), this.traces.length > 0 || this.isFiltered());
  }

  emptyText() {
    if (this.hasFailed) return "The traces cannot be read now. Trying again.";
    if (!this.hasAnswer) return "Reading…";
    if (this.isFiltered()) return "No trace fits the filter.";
    return "No trace is kept yet. A sampled request appears here when it has ended.";
  }

  countText(shown) {
    const all = plural(this.traces.length, "trace", "traces");
    return shown === this.traces.length ? all : count(shown) + " of " + all;
  }

  // Follows the address: null closes.
  async choose(id) {
    this.open = id;
    show(byId("trace-detail"), id !== null);
    byId("traces-split").classList.toggle("split", id !== null);
    this.draw();
    if (id === null) return;
    const box = byId("trace-waterfall");
    setText(byId("trace-id"), id);
    setAttr(byId("trace-link"), "href", "#trace=" + encodeURIComponent(id));
    arrange(box, [h("p", { class: "empty" }, "Reading…")]);
    try {
      const trace = await getJson("api/traces/" + encodeURIComponent(id));
      if (this.open === id) drawWaterfall(box, trace);
    } catch (error) {
      const words = error.status === 404
        ? "This trace is not kept any more."
        : "This trace cannot be read now: " + error.message;
      if (this.open === id) arrange(box, [h("p", { class: "empty" }, words)]);
    }
  }
}
