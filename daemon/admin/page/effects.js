// SPDX-License-Identifier: Apache-2.0
// Section 4: what policy does to traffic at this moment: faults, limits and ejections.

import { byId, h, setAttr, setClass, setText, setWidth, show } from "./dom.js";
import { count, list, millis, NONE, number, plural, rate, share, span, text } from "./format.js";
import { F } from "./history.js";
import { clusterParts, keyOfHost, shortHost } from "./names.js";
import { Table } from "./table.js";

const IN_SERVICE = "in service";

function faultWords(fault) {
  const words = [];
  const percent = (value) => (number(value) === 100 ? "all" : share(number(value) / 100));
  if (number(fault.delay_percent) > 0) {
    words.push(`delay ${millis(number(fault.delay_ms))} for ${percent(fault.delay_percent)}`);
  }
  if (number(fault.abort_percent) > 0) {
    const status = number(fault.abort_status);
    const what = status < 0 ? "cut the connection" : "abort " + status;
    words.push(what + " for " + percent(fault.abort_percent));
  }
  if (fault.shadow) words.push("shadow: only counted");
  return words.join(", ");
}

// Requests name the route that they took, so only a route's own fault can be counted by them.
function injectedText({ fault, summary }) {
  const counters = summary.routes.get(text(fault.object) + "\u0000" + text(fault.route));
  if (!counters || !summary.hasRates) return NONE;
  const delays = number(fault.delay_percent) > 0 ? counters[F.delays] : 0;
  const aborts = number(fault.abort_percent) > 0 ? counters[F.aborts] : 0;
  return rate((delays + aborts) / summary.seconds);
}

function makeFaultName(cell) {
  const state = { object: h("div", {}), where: h("div", { class: "muted" }) };
  cell.append(state.object, state.where);
  return state;
}

function drawFaultName(state, { fault }) {
  setText(state.object, text(fault.object) || text(fault.route) || "unnamed");
  const hosts = list(fault.hosts).map(shortHost).join(", ");
  const route = text(fault.object) ? text(fault.route) : "";
  setText(state.where, [route, hosts].filter(Boolean).join(" → "));
}

function makeFaults() {
  return new Table(byId("faults-box"), {
    label: "Active faults",
    keyOf: (row) => row.key,
    searchOf: (row) => text(row.fault.object) + " " + text(row.fault.route),
    empty: "No fault is injected.",
    columns: [
      { title: "Policy", cls: "name", make: makeFaultName, draw: drawFaultName },
      { title: "Fault", cls: "wrap", text: (row) => faultWords(row.fault) },
      { title: "Injected", num: true, text: injectedText },
    ],
  });
}

function fill(row) {
  return row.max > 0 ? row.used / row.max : 0;
}

function drawFill(state, row) {
  const fraction = fill(row);
  const level = fraction >= 1 ? "bad" : fraction >= 0.8 ? "warn" : "ok";
  const words = count(row.used) + " of " + count(row.max);
  setText(state.label, level === "bad" ? words + " full" : words);
  setClass(state.bar, "fill " + level);
  setWidth(state.bar, fraction);
  setAttr(state.meter, "aria-valuenow", row.used);
  setAttr(state.meter, "aria-valuemax", row.max);
  setAttr(state.meter, "aria-label", row.what);
}

function makeFill(cell) {
  const bar = h("i", { class: "fill" });
  const meter = h("div", { class: "meter", role: "meter", "aria-valuemin": 0 }, bar);
  const label = h("span", { class: "num" });
  cell.append(label, meter);
  return { bar, meter, label };
}

function refusedText(row) {
  if (!row.isFirst) return "";
  if (row.refused > 0) return rate(row.refused);
  return row.refusedInAll > 0 ? count(row.refusedInAll) + " before" : NONE;
}

function makeLimits() {
  return new Table(byId("limits-box"), {
    label: "Limits",
    keyOf: (row) => row.cluster + "\u0000" + row.what,
    searchOf: (row) => row.cluster + " " + row.what,
    empty: "No limit is set.",
    sortBy: 2,
    descending: true,
    columns: [
      { title: "Service", cls: "name", sort: (row) => row.name, text: (row) => row.name },
      { title: "Limit on", sort: (row) => row.what, text: (row) => row.what },
      { title: "In use", cls: "limit", sort: fill, make: makeFill, draw: drawFill },
      {
        title: "Refused",
        num: true,
        sort: (row) => row.refused,
        text: refusedText,
      },
    ],
  });
}

function limitRows(overview, history, seconds) {
  const seen = new Set();
  const limits = list(overview.limits).filter((limit) => number(limit.max) > 0);
  return limits.map((limit) => {
    const cluster = text(limit.cluster);
    const { host, subset, isOriginal } = clusterParts(cluster);
    const [refused] = history.gaugeGrowth("limits", cluster);
    const name = shortHost(text(limit.host) || host) + (subset ? " " + subset : "");
    const isFirst = !seen.has(cluster);
    seen.add(cluster);
    return {
      cluster,
      isFirst, // the counter belongs to the cluster: shown once
      name: name + (isOriginal ? ", where the caller sent it" : ""),
      what: text(limit.what),
      max: number(limit.max),
      used: number(limit.used),
      refusedInAll: number(limit.refused),
      refused: seconds > 0 ? number(refused) / seconds : 0,
    };
  });
}

function makeReason(cell) {
  const state = { reason: h("div", {}), failures: h("div", { class: "chips" }) };
  cell.append(state.reason, state.failures);
  return state;
}

function drawReason(state, row) {
  setText(state.reason, text(row.endpoint.reason) || "no reason given");
  const failures = list(row.endpoint.failures).slice(-8).map(text);
  const words = failures.length > 0 ? "last failures: " + failures.join(", ") : "";
  setText(state.failures, words);
  show(state.failures, words !== "");
}

function makeWho(cell) {
  const state = { service: h("div", { class: "strong" }), where: h("div", { class: "muted" }) };
  cell.append(state.service, state.where);
  return state;
}

function drawWho(state, { endpoint }) {
  setText(state.service, shortHost(endpoint.service) || "unknown");
  setText(state.where, [text(endpoint.address), text(endpoint.pod)].filter(Boolean).join("  "));
}

function untilWords({ endpoint, nowMs }) {
  const until = number(endpoint.until_unix_ms);
  if (until === 0) return "–";
  return until <= nowMs ? "now" : "in " + span(until - nowMs);
}

function makeEjections() {
  return new Table(byId("ejections-box"), {
    label: "Ejections",
    keyOf: (row) => text(row.endpoint.service) + "\u0000" + text(row.endpoint.address),
    searchOf: (row) => text(row.endpoint.service) + " " + text(row.endpoint.pod),
    empty: "No endpoint is ejected.",
    columns: [
      { title: "Endpoint", cls: "name", make: makeWho, draw: drawWho },
      {
        title: "State",
        draw: (_, row, cell) => {
          setText(cell, text(row.endpoint.state));
          setClass(cell, "health " + (row.endpoint.state === "ejected" ? "bad" : "warn"));
        },
      },
      { title: "Why", cls: "wrap", make: makeReason, draw: drawReason },
      {
        title: "Since",
        num: true,
        text: ({ endpoint, nowMs }) =>
          number(endpoint.since_unix_ms) ? span(nowMs - endpoint.since_unix_ms) : "–",
      },
      { title: "Back", num: true, text: untilWords },
    ],
  });
}

function isOut(endpoint) {
  const state = text(endpoint.state);
  return state !== "" && state !== IN_SERVICE;
}

export class Effects {
  constructor() {
    this.faults = makeFaults();
    this.limits = makeLimits();
    this.ejections = makeEjections();
  }

  update(overview, summary, history) {
    const faults = list(overview.faults);
    // One object may have several faults that read the same: their place tells them apart.
    this.faults.update(faults.map((fault, i) => ({ fault, summary, key: String(i) })));
    setText(byId("faults-count"), faults.length > 0 ? count(faults.length) : "");
    const limits = limitRows(overview, history, summary.seconds);
    this.limits.update(limits);
    const full = limits.filter((row) => fill(row) >= 1).length;
    setText(byId("limits-count"), full > 0 ? plural(full, "is full", "are full") : "");
    const endpoints = list(overview.endpoints);
    const out = endpoints.filter(isOut);
    const nowMs = history.nowMs;
    this.ejections.update(out.map((endpoint) => ({ endpoint, nowMs })));
    const total = plural(endpoints.length, "endpoint", "endpoints");
    const words = out.length > 0 ? count(out.length) + " of " + total : total;
    setText(byId("ejections-count"), endpoints.length > 0 ? words : "");
  }
}

// Which services the graph marks, and with what words.
export function badgesOf(overview) {
  const badges = new Map();
  const put = (host, words) => {
    const key = keyOfHost(host);
    const known = badges.get(key) || [];
    if (!known.includes(words)) badges.set(key, [...known, words]);
  };
  for (const fault of list(overview.faults)) {
    for (const host of fault.shadow ? [] : list(fault.hosts)) put(host, "fault");
  }
  const out = new Map();
  for (const endpoint of list(overview.endpoints).filter(isOut)) {
    const host = text(endpoint.service);
    out.set(host, (out.get(host) || 0) + 1);
  }
  for (const [host, amount] of out) put(host, amount + " out");
  for (const limit of list(overview.limits)) {
    const isFull = number(limit.max) > 0 && number(limit.used) >= limit.max;
    if (isFull) put(clusterParts(limit.cluster).host, "limit full");
  }
  return badges;
}
