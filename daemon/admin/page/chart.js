// SPDX-License-Identifier: Apache-2.0
// A small line chart over time: lines with gaps, a cursor for pointer and keyboard.

import { arrange, h, setAttr, setText, show, svg } from "./dom.js";
import { clock, NONE } from "./format.js";

const HEIGHT = 190;
const MARGIN = { left: 56, right: 14, top: 10, bottom: 22 };

// A range that the newest values fit into, with round steps.
function linearTicks(max) {
  const rough = Math.max(max, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((value) => value >= rough);
  const ticks = [];
  for (let i = 0; i <= Math.ceil(max / step - 1e-9); i += 1) ticks.push(i * step);
  return ticks.length > 1 ? ticks : [0, step];
}

function logTicks(min, max) {
  const from = Math.floor(Math.log10(min));
  const to = Math.max(from + 1, Math.ceil(Math.log10(max)));
  return Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
}

// "2.50 s" on an axis is "2.5 s".
function withoutZeros(label) {
  return label.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}

function makeScale(points, isLog) {
  const values = points.flatMap((point) => point.values).filter((value) => value !== null);
  if (!isLog) {
    const ticks = linearTicks(Math.max(...values, 0) || 1);
    return { ticks, toUnit: (value) => value / ticks[ticks.length - 1] };
  }
  const positive = values.filter((value) => value > 0);
  const ticks = positive.length
    ? logTicks(Math.min(...positive), Math.max(...positive))
    : [1, 10, 100, 1000];
  const low = Math.log10(ticks[0]);
  const width = Math.log10(ticks[ticks.length - 1]) - low;
  const clamped = (value) => Math.log10(Math.max(value, ticks[0]));
  return { ticks, toUnit: (value) => (clamped(value) - low) / width };
}

export class Chart {
  // lines: [{label, cls, area?, isExtra?}]; an extra line is drawn only when it is not all zero
  constructor(host, { label, lines, isLog, format }) {
    Object.assign(this, { host, label, lines, isLog, format });
    this.cursor = null;
    this.readouts = lines.map(() => h("span", { class: "num" }, NONE));
    this.when = h("span", { class: "num when" });
    const keys = lines.map((line, i) =>
      h("span", { class: "key " + line.cls }, h("i", {}), line.label + " ", this.readouts[i]),
    );
    this.empty = h("p", { class: "chart-empty" });
    this.drawing = svg("svg", { class: "chart", height: HEIGHT, tabindex: 0, role: "img" });
    this.grid = svg("g", { class: "rules" });
    this.axis = svg("g", { class: "axis" });
    this.marks = svg("g", {});
    this.paths = lines.map((line) => svg("path", { class: "series " + line.cls }));
    this.areas = lines.map((line) => line.area && svg("path", { class: "area " + line.cls }));
    this.hair = svg("line", { class: "hair", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
    this.dots = lines.map((line) => svg("circle", { class: "dot " + line.cls, r: 3 }));
    const parts = [this.grid, this.marks, this.areas, this.paths, this.hair, this.dots, this.axis];
    this.drawing.append(...parts.flat().filter(Boolean));
    const frame = h("div", { class: "chart-frame" }, this.drawing, this.empty);
    host.append(h("div", { class: "legend" }, keys, this.when), frame);
    this.listen(frame);
  }

  listen(frame) {
    this.drawing.addEventListener("pointermove", (event) => this.point(event));
    this.drawing.addEventListener("pointerleave", () => this.moveCursor(null));
    this.drawing.addEventListener("blur", () => this.moveCursor(null));
    this.drawing.addEventListener("keydown", (event) => this.onKey(event));
    // Asking for the width while drawing would make the browser lay the page out twice.
    const resized = ([entry]) => {
      this.width = Math.floor(entry.contentRect.width);
      this.draw();
    };
    new ResizeObserver(resized).observe(frame);
  }

  // points: [{t, values, isAfterGap}], oldest first
  update({ from, to, points, restarts, emptyText }) {
    Object.assign(this, { from, to, points, restarts });
    setText(this.empty, emptyText);
    show(this.empty, emptyText !== "");
    this.draw();
  }

  draw() {
    if (!this.points || !this.width) return;
    setAttr(this.drawing, "width", this.width);
    this.scale = makeScale(this.points, this.isLog);
    this.drawGrid();
    this.drawTimes();
    this.lines.forEach((_, i) => this.drawLine(i));
    this.drawRestarts();
    this.drawCursor();
  }

  x(t) {
    const inner = this.width - MARGIN.left - MARGIN.right;
    return MARGIN.left + (inner * (t - this.from)) / (this.to - this.from);
  }

  y(value) {
    const inner = HEIGHT - MARGIN.top - MARGIN.bottom;
    return MARGIN.top + inner * (1 - this.scale.toUnit(value));
  }

  drawGrid() {
    const right = this.width - MARGIN.right;
    const rows = this.scale.ticks.map((tick) => {
      const y = this.y(tick).toFixed(1);
      const text = svg("text", { x: MARGIN.left - 8, y: Number(y) + 4, "text-anchor": "end" });
      text.append(withoutZeros(this.format(tick)));
      return [svg("line", { x1: MARGIN.left, x2: right, y1: y, y2: y }), text];
    });
    arrange(this.grid, rows.flat());
  }

  drawTimes() {
    const steps = [15, 30, 60, 120, 300].map((seconds) => seconds * 1000);
    const most = Math.max(2, Math.floor(this.width / 110));
    const step = steps.find((s) => (this.to - this.from) / s <= most) || steps[steps.length - 1];
    const texts = [];
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
      const x = this.x(t);
      if (x < MARGIN.left + 20 || x > this.width - 30) continue;
      const props = { x: x.toFixed(1), y: HEIGHT - 6, "text-anchor": "middle" };
      texts.push(svg("text", props, clock(t)));
    }
    arrange(this.axis, texts);
  }

  // Pieces between gaps; a lone point becomes a short stroke, so that it is seen.
  pieces(index) {
    const pieces = [];
    const isZero = this.points.every((point) => !point.values[index]);
    if (isZero && this.lines[index].isExtra) return pieces;
    let piece = null;
    for (const point of this.points) {
      const value = point.values[index];
      if (value === null || point.isAfterGap) piece = null;
      if (value === null) continue;
      if (!piece) pieces.push((piece = []));
      piece.push([this.x(point.t), this.y(value)]);
    }
    return pieces;
  }

  drawLine(index) {
    const write = ([x, y]) => x.toFixed(1) + " " + y.toFixed(1);
    const pieces = this.pieces(index);
    const strokes = pieces.map((piece) => {
      const path = "M" + piece.map(write).join("L");
      return piece.length === 1 ? path + "h0.01" : path;
    });
    setAttr(this.paths[index], "d", strokes.join(""));
    if (!this.areas[index]) return;
    const bottom = (HEIGHT - MARGIN.bottom).toFixed(1);
    const fills = pieces.map((piece) => {
      const left = piece[0][0].toFixed(1);
      const right = piece[piece.length - 1][0].toFixed(1);
      return `M${left} ${bottom}L${piece.map(write).join("L")}L${right} ${bottom}z`;
    });
    setAttr(this.areas[index], "d", fills.join(""));
  }

  drawRestarts() {
    const lines = this.restarts
      .filter((at) => at > this.from)
      .map((at) => {
        const x = this.x(at).toFixed(1);
        const line = svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
        line.append(svg("title", {}, "the daemon was restarted"));
        return line;
      });
    this.marks.setAttribute("class", "restarts");
    arrange(this.marks, lines);
  }

  point(event) {
    const x = event.clientX - this.drawing.getBoundingClientRect().left;
    let best = null;
    this.points?.forEach((point, i) => {
      const distance = Math.abs(this.x(point.t) - x);
      if (best === null || distance < best.distance) best = { i, distance };
    });
    this.moveCursor(best ? this.points[best.i].t : null);
  }

  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.moveCursor(null);
    if (!step || !this.points?.length) return;
    const last = this.points.length - 1;
    const now = this.points.findIndex((point) => point.t === this.cursor);
    const next = now < 0 ? last : Math.min(last, Math.max(0, now + step));
    this.moveCursor(this.points[next].t);
    event.preventDefault();
  }

  moveCursor(t) {
    this.cursor = t;
    if (this.points && this.width) this.drawCursor();
  }

  // The legend reads the point under the cursor, otherwise the newest.
  drawCursor() {
    const chosen = this.points.find((point) => point.t === this.cursor);
    const point = chosen || this.points[this.points.length - 1];
    const x = chosen ? this.x(chosen.t).toFixed(1) : 0;
    setAttr(this.hair, "visibility", chosen ? "visible" : "hidden");
    setAttr(this.hair, "x1", x);
    setAttr(this.hair, "x2", x);
    const readings = this.lines.map((line, i) => {
      const value = point ? point.values[i] : null;
      const isOn = Boolean(chosen) && value !== null;
      setAttr(this.dots[i], "visibility", isOn ? "visible" : "hidden");
      setAttr(this.dots[i], "cx", x);
      if (isOn) setAttr(this.dots[i], "cy", this.y(value).toFixed(1));
      setText(this.readouts[i], value === null ? NONE : this.format(value));
      return line.label + " " + this.readouts[i].textContent;
    });
    setText(this.when, chosen ? "at " + clock(chosen.t) : "");
    setAttr(this.drawing, "aria-label", this.label + ", " + readings.join(", "));
  }
}
