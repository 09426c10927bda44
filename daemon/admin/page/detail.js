// SPDX-License-Identifier: Apache-2.0
// What a service or a call shows on hover and focus.

import { h } from "./dom.js";
import { bytes, micros, rate, share } from "./format.js";
import { F } from "./history.js";
import { flagWords } from "./names.js";
import { quantileText } from "./quantile.js";
import { ratePerSecond, versionLabel } from "./summary.js";
import { successText, trafficText } from "./graph_shapes.js";

const MOST_LINES = 6;

function pairs(rows) {
  const known = rows.filter(([, value]) => value !== "" && value !== null);
  return h(
    "dl",
    { class: "pairs" },
    known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

function block(title, rows) {
  if (rows.length === 0) return null;
  const more = rows.length - MOST_LINES;
  const shown = rows.slice(0, MOST_LINES);
  return h(
    "div",
    { class: "tip-block" },
    h("h4", {}, title),
    h(
      "table",
      {},
      shown.map((cells) =>
        h("tr", {}, cells.map((cell, i) => h("td", { class: i > 0 ? "num" : null }, cell))),
      ),
    ),
    more > 0 && h("p", { class: "muted" }, "and " + more + " more"),
  );
}

function perSecondOrNothing(traffic, summary, field) {
  const value = traffic.total[field];
  return value > 0 ? rate(ratePerSecond(traffic.total, summary.seconds, field)) : "";
}

function numbers(traffic, summary) {
  const { total } = traffic;
  const q = (value) => quantileText(total, summary.boundsMs, value);
  const requests = total[F.requests];
  return pairs([
    ["requests", trafficText(total, summary.seconds, summary.hasRates)],
    ["success", successText(total)],
    ["p50 / p90 / p99", requests > 0 ? [q(0.5), q(0.9), q(0.99)].join(" / ") : ""],
    ["mean", requests > 0 ? micros(total[F.durationUs] / requests) : ""],
    ["rate limited", perSecondOrNothing(traffic, summary, F.limited)],
    ["delays injected", perSecondOrNothing(traffic, summary, F.delays)],
    ["aborts injected", perSecondOrNothing(traffic, summary, F.aborts)],
    ["retries", perSecondOrNothing(traffic, summary, F.retries)],
    ["request bytes", requests > 0 ? bytes(total[F.bytesIn] / summary.seconds) + "/s" : ""],
    ["response bytes", requests > 0 ? bytes(total[F.bytesOut] / summary.seconds) + "/s" : ""],
  ]);
}

function answers(traffic, summary) {
  const rows = [...traffic.answers].sort((a, b) => b[1] - a[1]);
  return block(
    "Answers",
    rows.map(([answer, requests]) => {
      const [status, flags] = answer.split(" ");
      const words = flagWords(flags);
      const name = (status === "0" ? "none" : status) + (flags ? " " + flags : "");
      return [words ? name + ": " + words : name, rate(requests / summary.seconds)];
    }),
  );
}

function versions(traffic, summary) {
  const all = traffic.total[F.requests];
  if (all === 0 || traffic.versions.size < 2) return null;
  const rows = [...traffic.versions].sort((a, b) => b[1][F.requests] - a[1][F.requests]);
  return block(
    "Versions",
    rows.map(([version, vector]) => [
      versionLabel(version),
      share(vector[F.requests] / all),
      successText(vector) || "–",
    ]),
  );
}

function calls(title, service, side, summary) {
  const other = side === "source" ? "target" : "source";
  return block(
    title,
    summary
      .callsOf(service, side)
      .map((call) => [
        call[other].name,
        trafficText(call.total, summary.seconds, summary.hasRates),
        successText(call.total) || "–",
      ]),
  );
}

export function describeService(service, summary, badges) {
  const workloads = [...service.workloads].filter((name) => name !== service.name).sort();
  return [
    h("h3", {}, service.name, " ", h("span", { class: "muted" }, service.namespace)),
    badges.length > 0 && h("p", { class: "warn-text" }, badges.join(", ")),
    service.isCalled ? numbers(service, summary) : h("p", { class: "muted" }, "Only calls others."),
    pairs([["workloads", workloads.slice(0, MOST_LINES).join(", ")]]),
    versions(service, summary),
    answers(service, summary),
    calls("Called by", service, "target", summary),
    calls("Calls", service, "source", summary),
  ].filter(Boolean);
}

export function describeCall(call, summary) {
  return [
    h("h3", {}, call.source.name, " → ", call.target.name),
    numbers(call, summary),
    versions(call, summary),
    answers(call, summary),
  ].filter(Boolean);
}
