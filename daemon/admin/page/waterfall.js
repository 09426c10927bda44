// SPDX-License-Identifier: Apache-2.0
// One trace: its spans under their parents, on a common time axis; a click shows the tags.

import { arrange, h, show } from "./dom.js";
import { byName, dayAndClock, millis, number, plural, text } from "./format.js";
import { flagWords } from "./names.js";

const MOST_SPANS = 1000;
const MOST_DEPTH = 40;
const COLOURS = 6;
const TICKS = 4;

function readSpan(raw) {
  return {
    id: text(raw.id),
    parent: text(raw.parent),
    name: text(raw.name),
    service: text(raw.service) || "unknown",
    kind: text(raw.kind),
    start: number(raw.start_unix_us),
    duration: Math.max(0, number(raw.duration_us)),
    isError: raw.error === true,
    tags: Object.entries(raw.tags && typeof raw.tags === "object" ? raw.tags : {}),
    children: [],
  };
}

// Spans as a forest. What has no known parent is a root; a circle of parents is cut where the
// walk first meets it, so that nothing is lost and nothing is drawn twice.
function nest(spans) {
  const byId = new Map();
  for (const span of spans) byId.set(span.id, span);
  const roots = [];
  for (const span of spans) {
    const parent = byId.get(span.parent);
    (parent && parent !== span ? parent.children : roots).push(span);
  }
  const rows = [];
  const seen = new Set();
  const walk = (span, depth) => {
    if (seen.has(span) || rows.length >= MOST_SPANS) return;
    seen.add(span);
    rows.push({ span, depth: Math.min(depth, MOST_DEPTH) });
    span.children.sort((a, b) => a.start - b.start);
    for (const child of span.children) walk(child, depth + 1);
  };
  roots.sort((a, b) => a.start - b.start);
  for (const root of [...roots, ...spans]) walk(root, 0);
  return rows;
}

function tagValue(name, value) {
  const words = name === "response_flags" ? flagWords(value) : "";
  return text(value) + (words ? " (" + words + ")" : "");
}

function tagList(span, start) {
  const tags = span.tags
    .map(([name, value]) => [name, tagValue(name, value)])
    .sort((a, b) => byName(a[0], b[0]));
  const own = [
    ["span", span.id],
    ["kind", span.kind.toLowerCase()],
    ["begins after", millis((span.start - start) / 1000)],
  ];
  const rows = [...own, ...tags].filter(([, value]) => value !== "");
  return h(
    "dl",
    { class: "pairs tags" },
    rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

function flagsOf(span) {
  const entry = span.tags.find(([name]) => name === "response_flags");
  const flags = entry ? text(entry[1]) : "";
  return flags === "-" ? "" : flags;
}

function makeRow({ span, depth }, view) {
  const colour = view.colours.get(span.service);
  const bar = h("i", { class: "span-bar " + colour });
  if (span.kind === "CLIENT") bar.classList.add("client");
  if (span.isError) bar.classList.add("failed");
  const left = ((span.start - view.start) / view.length) * 100;
  const width = (span.duration / view.length) * 100;
  bar.style.left = Math.min(100, left).toFixed(3) + "%";
  bar.style.width = Math.min(100 - Math.min(100, left), width).toFixed(3) + "%";
  const flags = flagsOf(span);
  const title = h(
    "span",
    { class: "span-name" },
    h("b", {}, span.service),
    span.isError && h("em", { class: "chip bad" }, "error"),
    flags && h("em", { class: "chip", title: flagWords(flags) }, flags),
    h("span", { class: "muted" }, [span.kind.toLowerCase(), span.name].filter(Boolean).join(" ")),
  );
  title.style.paddingInlineStart = depth * 14 + "px";
  const took = h("span", { class: "num" }, millis(span.duration / 1000));
  const track = h("span", { class: "track" }, bar);
  const button = h("button", { type: "button", class: "span-row", "aria-expanded": "false" });
  button.append(title, track, took);
  const item = h("li", {}, button);
  let tags = null;
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(isOpen));
    if (!tags) item.append((tags = tagList(span, view.start)));
    show(tags, isOpen);
  });
  return item;
}

function makeAxis(view) {
  const ticks = [];
  for (let i = 0; i <= TICKS; i += 1) {
    const tick = h("span", { class: "num" }, millis(((view.length / TICKS) * i) / 1000));
    tick.style.left = (100 / TICKS) * i + "%";
    ticks.push(tick);
  }
  const track = h("div", { class: "track" }, ticks);
  return h("div", { class: "span-axis", "aria-hidden": "true" }, track);
}

export function drawWaterfall(box, trace) {
  const spans = (Array.isArray(trace.spans) ? trace.spans : []).map(readSpan);
  if (spans.length === 0) {
    arrange(box, [h("p", { class: "empty" }, "This trace has no spans yet.")]);
    return;
  }
  const start = spans.reduce((least, span) => Math.min(least, span.start), Infinity);
  const end = spans.reduce((most, span) => Math.max(most, span.start + span.duration), 0);
  const rows = nest(spans);
  const colours = new Map();
  for (const { span } of rows) {
    if (!colours.has(span.service)) colours.set(span.service, "v" + (colours.size % COLOURS));
  }
  const view = { start, length: Math.max(1, end - start), colours };
  const errors = spans.filter((span) => span.isError).length;
  const words = [
    dayAndClock(start / 1000),
    millis(view.length / 1000),
    plural(spans.length, "span", "spans"),
    plural(colours.size, "service", "services"),
  ];
  if (errors > 0) words.push(plural(errors, "error", "errors"));
  const more = spans.length - rows.length;
  if (more > 0) words.push(plural(more, "span is", "spans are") + " not shown");
  arrange(box, [
    h("p", { class: "trace-facts num" }, words.join("  ·  ")),
    makeAxis(view),
    h("ol", { class: "spans" }, rows.map((row) => makeRow(row, view))),
  ]);
}
