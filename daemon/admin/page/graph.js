// SPDX-License-Identifier: Apache-2.0
// Section 1: who calls whom, how often and how well.

import { arrange, byId, Keyed, Lazily, setAttr, setText, show, svg } from "./dom.js";
import { byName, plural } from "./format.js";
import { layOut } from "./graph_layout.js";
import {
  changeEdge,
  changeNode,
  curve,
  heightOf,
  loop,
  makeEdge,
  makeNode,
  pointOf,
  successText,
  trafficText,
} from "./graph_shapes.js";
import { describeCall, describeService } from "./detail.js";

const COMPACT_ABOVE = 30; // services
const SHAPE = { minNode: 120, maxNode: 196, minGap: 52, wantedGap: 84, maxGap: 220, padding: 14 };
const COMPACT_SHAPE = { ...SHAPE, minNode: 136, minGap: 36, wantedGap: 60 };
const LABEL_HEIGHT = 28;
const LABEL_WIDTH = 64;

function arrows() {
  return ["ok", "warn", "bad", "idle"].map((health) =>
    svg(
      "marker",
      {
        id: "arrow-" + health,
        class: "arrow " + health,
        viewBox: "0 0 8 8",
        refX: 3,
        refY: 4,
        markerWidth: 8,
        markerHeight: 8,
        markerUnits: "userSpaceOnUse",
        orient: "auto",
      },
      svg("path", { d: "M0 0L8 4L0 8z" }),
    ),
  );
}

export class Graph {
  constructor({ onChoose }) {
    this.onChoose = onChoose;
    this.box = byId("graph-box");
    this.tip = byId("graph-tip");
    this.filter = byId("graph-filter");
    this.edgeLayer = svg("g", {});
    this.nodeLayer = svg("g", {});
    this.svg = svg("svg", { class: "graph", role: "group", "aria-label": "Service graph" });
    this.svg.append(svg("defs", {}, arrows()), this.edgeLayer, this.nodeLayer);
    byId("graph-scroll").append(this.svg);
    this.edges = new Keyed(
      this.edgeLayer,
      (call) => this.watch(makeEdge(call)),
      (entry, call) => this.changeEdge(entry, call),
    );
    this.nodes = new Keyed(
      this.nodeLayer,
      (service) => this.watch(makeNode(service)),
      (entry, service) => this.changeNode(entry, service),
    );
    this.lazily = new Lazily(this.box, () => this.redraw());
    this.filter.addEventListener("input", () => this.redraw());
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
    this.orders = new Map();
    this.width = 1000;
    const resized = ([entry]) => {
      this.width = Math.floor(entry.contentRect.width) || this.width;
      this.lazily.request();
    };
    new ResizeObserver(resized).observe(this.box);
  }

  watch(entry) {
    const on = (event, handler) => entry.element.addEventListener(event, handler);
    on("pointerenter", () => this.showTip(entry));
    on("pointerleave", () => this.hideTip());
    if (!entry.box) return entry;
    on("focus", () => this.showTip(entry));
    on("blur", () => this.hideTip());
    on("click", () => this.onChoose(entry.service.key));
    return entry;
  }

  update(summary, badges, chosen) {
    this.summary = summary;
    this.badges = badges;
    this.chosen = chosen;
    this.lazily.request();
  }

  redraw() {
    if (!this.summary) return;
    const { services, calls } = this.visibleParts();
    const all = this.summary.services.size;
    show(byId("graph-empty"), all === 0);
    show(byId("graph-scroll"), all > 0);
    show(this.filter, all > 8);
    setText(byId("graph-count"), all > 0 ? this.countText(services.length, all) : "");
    if (all === 0) return;
    this.isCompact = services.length > COMPACT_ABOVE;
    this.hasNamespaces = new Set(services.map((s) => s.namespace).filter(Boolean)).size > 1;
    this.place(services, calls);
    this.edges.update(calls, (call) => call.key);
    this.nodes.update(services, (service) => service.key);
    this.rove();
    if (this.tipEntry) this.fillTip();
  }

  countText(shown, all) {
    const services = plural(all, "service", "services");
    return shown === all ? services : shown + " of " + services;
  }

  // The filter keeps what matches and its neighbours.
  visibleParts() {
    const services = this.inOrder("services");
    const calls = this.inOrder("calls");
    const wanted = this.filter.value.trim().toLowerCase();
    if (wanted === "") return { services, calls };
    const matches = (service) => service.key.toLowerCase().includes(wanted);
    const near = calls.filter((call) => matches(call.source) || matches(call.target));
    const kept = new Set(services.filter(matches));
    for (const call of near) kept.add(call.source).add(call.target);
    return { services: services.filter((service) => kept.has(service)), calls: near };
  }

  // By name, sorted anew only when one came or went: names cost more to compare than to find.
  inOrder(what) {
    const map = this.summary[what];
    const known = this.orders.get(what);
    const isSame = known && known.length === map.size && known.every((key) => map.has(key));
    const order = isSame ? known : [...map.keys()].sort(byName);
    this.orders.set(what, order);
    return order.map((key) => map.get(key));
  }

  place(services, calls) {
    const { width } = this;
    const nodes = services.map((service) => ({
      id: service.key,
      height: heightOf(service, this.badges.get(service.key) || [], this.isCompact),
    }));
    const edges = calls.map((call) => ({
      id: call.key,
      source: call.source.key,
      target: call.target.key,
    }));
    const signature = JSON.stringify([width, nodes, edges]);
    if (signature === this.signature) return;
    this.signature = signature;
    this.heights = new Map(nodes.map((node) => [node.id, node.height]));
    const shape = this.isCompact ? COMPACT_SHAPE : SHAPE;
    this.layout = layOut(nodes, edges, { ...shape, width });
    this.nodeWidth = this.layout.nodeWidth;
    this.routes = this.drawRoutes(edges);
    setAttr(this.svg, "width", Math.round(this.layout.width));
    setAttr(this.svg, "height", Math.round(this.layout.height));
  }

  drawRoutes(edges) {
    const spread = this.spreadPorts(edges);
    const half = this.nodeWidth / 2;
    const routes = new Map();
    for (const edge of edges) {
      const place = this.layout.places.get(edge.source);
      if (edge.source === edge.target) {
        routes.set(edge.id, loop(place, half));
        continue;
      }
      const { points, isBack } = this.layout.routes.get(edge.id);
      const shifted = points.map((point) => ({ ...point }));
      shifted[0].y += spread.get("right" + edge.id);
      shifted[shifted.length - 1].y += spread.get("left" + edge.id);
      const path = isBack ? shifted.reverse() : shifted;
      const { path: d, pieces } = curve(path, half, isBack ? -1 : 1);
      routes.set(edge.id, { path: d, label: this.labelPoint(edge, pieces) });
    }
    separateLabels([...routes.values()].map((route) => route.label));
    return routes;
  }

  // Lines leave and reach a node at places of their own, in the order of where they lead.
  spreadPorts(edges) {
    const sides = new Map();
    for (const edge of edges) {
      const route = this.layout.routes.get(edge.id);
      if (!route) continue;
      const [tail, head] = route.isBack ? ["target", "source"] : ["source", "target"];
      const { points } = route;
      const ends = [
        ["right", edge[tail], points[1].y],
        ["left", edge[head], points[points.length - 2].y],
      ];
      for (const [side, node, y] of ends) {
        const key = side + "\u0000" + node;
        if (!sides.has(key)) sides.set(key, { side, node, ports: [] });
        sides.get(key).ports.push({ id: edge.id, y });
      }
    }
    const spread = new Map();
    for (const { side, node, ports } of sides.values()) {
      ports.sort((a, b) => a.y - b.y || byName(a.id, b.id));
      const step = Math.min(16, (this.heights.get(node) - 16) / ports.length);
      ports.forEach((port, i) => {
        spread.set(side + port.id, (i - (ports.length - 1) / 2) * step);
      });
    }
    return spread;
  }

  // Where lines lie apart: near the called when the caller calls many, and the other way.
  labelPoint(edge, pieces) {
    const outgoing = [...this.layout.routes.keys()].filter((id) =>
      id.startsWith(edge.source + "\u0000"),
    ).length;
    const [piece, t] = outgoing > 1 ? [pieces[pieces.length - 1], 0.7] : [pieces[0], 0.46];
    const rise = piece.to.y - piece.from.y;
    const isLevel = Math.abs(rise) < 14 || outgoing <= 1;
    return { ...pointOf(piece, t), side: isLevel ? "split" : rise > 0 ? "below" : "above" };
  }

  changeEdge(entry, call) {
    const route = this.routes.get(call.key);
    changeEdge(entry, call, { route, summary: this.summary, isCompact: this.isCompact });
    this.dim(entry);
  }

  // The lines of the chosen service stand out; in a crowd also those of the one looked at.
  dim(entry) {
    const looked = this.isCompact && this.tipEntry?.service ? this.tipEntry.service.key : null;
    const key = looked || this.chosen;
    const { source, target } = entry.call;
    const isAside = Boolean(key) && source.key !== key && target.key !== key;
    entry.element.classList.toggle("aside", isAside);
    entry.element.classList.toggle("lit", Boolean(key) && !isAside);
  }

  dimAll() {
    for (const entry of this.edges.kept.values()) this.dim(entry);
  }

  changeNode(entry, service) {
    const place = this.layout.places.get(service.key);
    const height = this.heights.get(service.key);
    const box = {
      left: place.x - this.nodeWidth / 2,
      top: place.y - height / 2,
      width: this.nodeWidth,
      height,
    };
    changeNode(entry, service, {
      box,
      badges: this.badges.get(service.key) || [],
      isCompact: this.isCompact,
      hasNamespaces: this.hasNamespaces,
      summary: this.summary,
    });
    if (this.chosen === service.key) entry.element.classList.add("chosen");
    setAttr(entry.element, "aria-label", this.spoken(service));
  }

  spoken(service) {
    const traffic = trafficText(service.total, this.summary.seconds, this.summary.hasRates);
    const well = successText(service.total);
    const calls = this.summary.callsOf(service, "source").map((call) => call.target.name);
    const numbers = service.isCalled ? traffic + (well ? ", success " + well : "") : "caller";
    return `${service.name}: ${numbers}${calls.length ? "; calls " + calls.join(", ") : ""}`;
  }

  // One stop for the Tab key; the arrow keys walk along the calls.
  rove() {
    const entries = [...this.nodes.kept.values()];
    if (!entries.some((entry) => entry.element.getAttribute("tabindex") === "0") && entries[0]) {
      entries[0].element.setAttribute("tabindex", "0");
    }
  }

  onKey(event) {
    const entry = [...this.nodes.kept.values()].find((e) => e.element === document.activeElement);
    if (!entry) return;
    if (event.key === "Enter" || event.key === " ") {
      this.onChoose(entry.service.key);
    } else if (event.key === "Escape") {
      this.hideTip();
    } else {
      const next = this.neighbour(entry.service, event.key);
      if (!next) return;
      const target = this.nodes.kept.get(next);
      if (!target) return;
      entry.element.setAttribute("tabindex", "-1");
      target.element.setAttribute("tabindex", "0");
      target.element.focus();
    }
    event.preventDefault();
  }

  neighbour(service, key) {
    const first = (side, other) => {
      const keys = this.summary.callsOf(service, side).map((call) => call[other].key);
      return keys.find((near) => near !== service.key && this.nodes.kept.has(near));
    };
    if (key === "ArrowRight") return first("source", "target");
    if (key === "ArrowLeft") return first("target", "source");
    if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
    const here = this.layout.places.get(service.key);
    const column = [...this.layout.places]
      .filter(([, place]) => place.x === here.x)
      .sort((a, b) => a[1].y - b[1].y)
      .map(([id]) => id);
    return column[column.indexOf(service.key) + (key === "ArrowDown" ? 1 : -1)];
  }

  showTip(entry) {
    this.tipEntry = entry;
    this.dimAll();
    this.fillTip();
    show(this.tip, true);
    this.moveTip(entry.element.getBoundingClientRect());
  }

  hideTip() {
    this.tipEntry = null;
    this.dimAll();
    show(this.tip, false);
  }

  fillTip() {
    const { service, call } = this.tipEntry;
    const now = service
      ? this.summary.services.get(service.key)
      : this.summary.calls.get(call.key);
    if (!now) return this.hideTip();
    const badges = service ? this.badges.get(service.key) || [] : [];
    const content = service
      ? describeService(now, this.summary, badges)
      : describeCall(now, this.summary);
    arrange(this.tip, content);
  }

  // Beside the element where there is room, never outside the section.
  moveTip(around) {
    const outer = this.box.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const isEdge = !this.tipEntry.service;
    const middle = (around.left + around.right) / 2 - outer.left;
    let left = isEdge ? middle - width / 2 : around.right - outer.left + 10;
    if (left + width > outer.width - 8) left = around.left - outer.left - width - 10;
    left = Math.max(8, Math.min(left, outer.width - width - 8));
    const top = isEdge ? around.bottom - outer.top + 8 : around.top - outer.top;
    const lowest = window.innerHeight - outer.top - height - 8;
    this.tip.style.left = Math.round(left) + "px";
    this.tip.style.top = Math.round(Math.max(8, Math.min(top, lowest))) + "px";
  }
}

function separateLabels(labels) {
  const sorted = [...labels].sort((a, b) => a.y - b.y || a.x - b.x);
  sorted.forEach((label, i) => {
    for (const other of sorted.slice(Math.max(0, i - 8), i)) {
      const isNear = Math.abs(other.x - label.x) < LABEL_WIDTH;
      if (isNear && label.y - other.y < LABEL_HEIGHT) label.y = other.y + LABEL_HEIGHT;
    }
  });
}
