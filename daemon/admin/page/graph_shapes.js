// SPDX-License-Identifier: Apache-2.0
// The elements of the service graph: one node, one call, their texts and curves.

import { setAttr, setClass, setText, svg, visible } from "./dom.js";
import { clip, rate, roundShare, success } from "./format.js";
import { F } from "./history.js";
import {
  amountOf,
  healthOf,
  ratePerSecond,
  REFUSED,
  successOf,
  versionLabel,
} from "./summary.js";

const LETTER = 7.4; // widest common interface font at 12 px
const HEIGHT_PLAIN = 44;
const HEIGHT_VERSIONS = 68;
const HEIGHT_COMPACT = 28;
const BADGE_LINE = 16;
const MAX_SEGMENTS = 6;

// Health has a shape as well as a colour.
const MARKS = {
  ok: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
  warn: "M0 -5L5 4H-5z",
  bad: "M-4.5 -4.5H4.5V4.5H-4.5z",
  idle: "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
};

export function trafficText(vector, seconds, hasRates) {
  if (!hasRates) return "–";
  if (vector[F.requests] === 0 && vector[F.opened] > 0) {
    return rate(ratePerSecond(vector, seconds, F.opened)).replace("/s", "\u00a0conn/s");
  }
  return rate(ratePerSecond(vector, seconds));
}

export function successText(vector) {
  const fraction = successOf(vector);
  return fraction === null ? "" : success(fraction);
}

export function heightOf(service, badges, isCompact) {
  if (isCompact) return HEIGHT_COMPACT;
  const base = service.isCalled || service.ownVersions.size > 0 ? HEIGHT_VERSIONS : HEIGHT_PLAIN;
  return base + (badges.length > 0 ? BADGE_LINE : 0);
}

function versionsText(service) {
  const names = service.versionNames();
  if (names.length === 0) return [...service.ownVersions].sort().join(", ");
  const all = amountOf(service.total, service);
  if (names.length === 1 || all === 0) return names.map(versionLabel).join(", ");
  const amount = (name) => amountOf(service.versions.get(name), service);
  const part = (name) => roundShare(amount(name) / all);
  const used = names.filter((name) => amount(name) > 0);
  return used.map((name) => versionLabel(name) + " " + part(name)).join("  ");
}

export function makeNode(service) {
  const parts = {
    box: svg("rect", { class: "box", rx: 5 }),
    mark: svg("path", { class: "mark" }),
    name: svg("text", { class: "name" }),
    rate: svg("text", { class: "num" }),
    success: svg("text", { class: "num success", "text-anchor": "end" }),
    segments: Array.from({ length: MAX_SEGMENTS }, () => svg("rect", { height: 4 })),
    versions: svg("text", { class: "small" }),
    badges: svg("text", { class: "small badges" }),
  };
  const shapes = Object.values(parts).flat();
  const element = svg("g", { tabindex: "-1", role: "img" }, shapes);
  return { element, service, ...parts };
}

function changeSegments(entry, service, box) {
  const all = amountOf(service.total, service);
  const names = service.versionNames();
  let x = box.left + 12;
  entry.segments.forEach((rect, i) => {
    const name = names[i];
    const amount = name === undefined ? 0 : amountOf(service.versions.get(name), service);
    const part = all > 0 ? amount / all : 0;
    const width = part * (box.width - 24);
    setAttr(rect, "x", x.toFixed(1));
    setAttr(rect, "y", box.top + 44);
    setAttr(rect, "width", Math.max(0, width - 1).toFixed(1));
    setClass(rect, name === REFUSED ? "v-none" : "v" + (i % MAX_SEGMENTS));
    x += width;
  });
}

function at(element, x, y) {
  setAttr(element, "x", x);
  setAttr(element, "y", y);
}

function placeCompact(entry, box) {
  setAttr(entry.mark, "transform", `translate(${box.left + 13} ${box.top + 14})`);
  at(entry.name, box.left + 23, box.top + 18.5);
  at(entry.rate, box.left + box.width - 8, box.top + 18.5);
  setAttr(entry.rate, "text-anchor", "end");
}

function placeFull(entry, box) {
  setAttr(entry.mark, "transform", `translate(${box.left + 16} ${box.top + 15})`);
  at(entry.name, box.left + 26, box.top + 19);
  at(entry.rate, box.left + 12, box.top + 36);
  setAttr(entry.rate, "text-anchor", "start");
  at(entry.success, box.left + box.width - 12, box.top + 36);
  at(entry.versions, box.left + 12, box.top + 60);
  at(entry.badges, box.left + 12, box.top + box.height - 7);
}

export function changeNode(entry, service, view) {
  const { box, badges, isCompact, hasNamespaces, summary } = view;
  entry.service = service;
  const letters = Math.floor((box.width - (isCompact ? 80 : 36)) / LETTER);
  const health = service.isCalled ? healthOf(service.total) : "caller";
  const name = hasNamespaces && service.namespace ? service.key : service.name;
  setClass(entry.element, "node " + health + (isCompact ? " compact" : ""));
  setAttr(entry.mark, "d", MARKS[health] || MARKS.idle);
  for (const [attribute, value] of Object.entries({
    x: box.left,
    y: box.top,
    width: box.width,
    height: box.height,
  })) {
    setAttr(entry.box, attribute, value);
  }
  setText(entry.name, clip(visible(name), letters));
  const traffic = trafficText(service.total, summary.seconds, summary.hasRates);
  setText(entry.rate, service.isCalled ? traffic : "caller");
  const full = isCompact ? "" : null;
  setText(entry.success, full ?? successText(service.total));
  const smallLetters = Math.floor((box.width - 24) / (LETTER * 0.84));
  setText(entry.versions, full ?? clip(visible(versionsText(service)), smallLetters));
  setText(entry.badges, full ?? clip(badges.join(" · "), smallLetters));
  if (isCompact) {
    placeCompact(entry, box);
    for (const rect of entry.segments) setAttr(rect, "width", 0);
  } else {
    placeFull(entry, box);
    changeSegments(entry, service, box);
  }
}

export function makeEdge(call) {
  const hit = svg("path", { class: "hit" });
  const line = svg("path", { class: "line" });
  const rateText = svg("text", { class: "num", "text-anchor": "middle" });
  const successTextNode = svg("text", { class: "num success", "text-anchor": "middle" });
  const element = svg("g", {}, hit, line, rateText, successTextNode);
  return { element, call, hit, line, rate: rateText, success: successTextNode };
}

// Rate over success: on both sides of a level line, beside a line that comes up or down.
const BASELINES = { split: [-5, 13], below: [17, 30], above: [-22, -9] };

export function changeEdge(entry, call, view) {
  const { route, summary, isCompact } = view;
  entry.call = call;
  const health = healthOf(call.total);
  setClass(entry.element, "edge " + health + (isCompact ? " crowded" : ""));
  if (entry.route !== route) placeEdge(entry, route);
  const perSecond = ratePerSecond(call.total, summary.seconds);
  const weight = isCompact ? 1 : 1.2 + Math.min(3, Math.log10(1 + perSecond));
  setAttr(entry.line, "stroke-width", weight.toFixed(1));
  setAttr(entry.line, "marker-end", "url(#arrow-" + health + ")");
  // In a crowd only calls that need attention carry their numbers; the others on hover.
  const isQuiet = health === "idle" || (isCompact && health === "ok");
  const label = trafficText(call.total, summary.seconds, summary.hasRates);
  setText(entry.rate, isQuiet ? "" : label.replace(/\sconn/, ""));
  setText(entry.success, isQuiet ? "" : successText(call.total) || "conn");
}

function placeEdge(entry, route) {
  entry.route = route;
  setAttr(entry.line, "d", route.path);
  setAttr(entry.hit, "d", route.path);
  const { x, y, side } = route.label;
  const [above, below] = BASELINES[side];
  at(entry.rate, x.toFixed(1), (y + above).toFixed(1));
  at(entry.success, x.toFixed(1), (y + below).toFixed(1));
}

// From side to side, level at both ends; through the lanes of the layers it skips.
export function curve(points, halfWidth, direction) {
  let path = "";
  const pieces = [];
  for (let i = 1; i < points.length; i += 1) {
    const from = { x: points[i - 1].x + direction * halfWidth, y: points[i - 1].y };
    const isLast = i === points.length - 1;
    const tip = isLast ? direction * 5 : 0; // room for the arrow
    const to = { x: points[i].x - direction * halfWidth - tip, y: points[i].y };
    const middle = (from.x + to.x) / 2;
    path += `${i === 1 ? "M" : "L"}${from.x.toFixed(1)} ${from.y.toFixed(1)}`;
    path += `C${middle.toFixed(1)} ${from.y.toFixed(1)} ${middle.toFixed(1)} `;
    path += `${to.y.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
    pieces.push({ from, to });
  }
  return { path, pieces };
}

// A call of a service to itself: a loop at its right side.
export function loop(place, halfWidth) {
  const x = place.x + halfWidth;
  const path = `M${x} ${place.y - 8}C${x + 34} ${place.y - 14} ${x + 34} ${place.y + 14} `;
  const label = { x: x + 48, y: place.y, side: "split" };
  return { path: path + `${x + 5} ${place.y + 8}`, label };
}

// The point at t of a piece whose control points lie level in the middle.
export function pointOf({ from, to }, t) {
  const u = 1 - t;
  const middle = (from.x + to.x) / 2;
  const x = u ** 3 * from.x + 3 * u * t * middle + t ** 3 * to.x;
  const y = (u ** 3 + 3 * u * u * t) * from.y + (3 * u * t * t + t ** 3) * to.y;
  return { x, y };
}
