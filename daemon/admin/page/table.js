// SPDX-License-Identifier: Apache-2.0
// A table that keeps its rows across updates, sorts by its head and filters by text.

import { Keyed, Lazily, h, setAttr, setText, show } from "./dom.js";
import { byName, count, plural } from "./format.js";

const MOST_ROWS = 200; // a browser stays quick; the filter finds the others
const FILTER_ABOVE = 12;

export class Table {
  // columns: {title, text(row) | make() + draw(cell, row), sort(row)?, num?, cls?}
  constructor(host, { label, columns, keyOf, searchOf, empty, sortBy, descending }) {
    Object.assign(this, { columns, keyOf, searchOf, rows: [] });
    this.sortColumn = sortBy === undefined ? null : columns[sortBy];
    this.descending = Boolean(descending);
    this.body = h("tbody", {});
    this.heads = columns.map((column) => this.makeHead(column));
    const head = h("thead", {}, h("tr", {}, this.heads));
    this.table = h("table", { class: "data", "aria-label": label }, head, this.body);
    this.scroll = h("div", { class: "scroll" }, this.table);
    this.empty = h("p", { class: "empty" }, empty);
    this.note = h("p", { class: "note" });
    this.filter = h("input", {
      type: "search",
      placeholder: "Filter",
      "aria-label": "Filter: " + label,
      on: { input: () => this.draw() },
    });
    for (const part of [this.filter, this.scroll, this.note]) show(part, false);
    host.append(this.filter, this.scroll, this.empty, this.note);
    this.lazily = new Lazily(host, () => this.draw());
    this.keyed = new Keyed(
      this.body,
      () => this.makeRow(),
      (entry, row) => this.changeRow(entry, row),
    );
  }

  makeHead(column) {
    const cls = column.num ? "num" : null;
    if (!column.sort) return h("th", { scope: "col", class: cls }, column.title);
    const sort = () => this.sortOn(column);
    const button = h("button", { type: "button", class: "sort", on: { click: sort } });
    button.append(column.title);
    return h("th", { scope: "col", class: cls }, button);
  }

  sortOn(column) {
    // Numbers are first wanted from the top, names from the start.
    const isSame = this.sortColumn === column;
    this.descending = isSame ? !this.descending : Boolean(column.num);
    this.sortColumn = column;
    this.draw();
  }

  makeRow() {
    const cells = this.columns.map((column) => {
      const cell = h("td", { class: [column.num && "num", column.cls].filter(Boolean).join(" ") });
      return { cell, state: column.make ? column.make(cell) : null };
    });
    return { element: h("tr", {}, cells.map(({ cell }) => cell)), cells };
  }

  changeRow(entry, row) {
    this.columns.forEach((column, i) => {
      const { cell, state } = entry.cells[i];
      if (column.draw) {
        column.draw(state, row, cell);
      } else {
        setText(cell, column.text(row));
      }
    });
    if (this.rowClass) setAttr(entry.element, "class", this.rowClass(row));
  }

  update(rows) {
    this.rows = rows;
    this.lazily.request();
  }

  draw() {
    const kept = this.sorted(this.filtered());
    show(this.filter, Boolean(this.searchOf) && this.rows.length > FILTER_ABOVE);
    show(this.empty, this.rows.length === 0);
    show(this.scroll, this.rows.length > 0);
    this.drawNote(kept.length);
    this.columns.forEach((column, i) => {
      const isSorted = column === this.sortColumn;
      const order = this.descending ? "descending" : "ascending";
      if (column.sort) setAttr(this.heads[i], "aria-sort", isSorted ? order : "none");
    });
    this.keyed.update(kept.slice(0, MOST_ROWS), this.keyOf);
  }

  drawNote(found) {
    const isFiltered = found < this.rows.length;
    let note = "";
    if (found > MOST_ROWS) {
      note = `The first ${MOST_ROWS} of ${count(found)} are shown; filter to see others.`;
    } else if (isFiltered) {
      note = `${found} of ${plural(this.rows.length, "row", "rows")}`;
    }
    setText(this.note, note);
    show(this.note, note !== "");
  }

  filtered() {
    const wanted = this.filter.value.trim().toLowerCase();
    if (wanted === "" || !this.searchOf) return this.rows;
    return this.rows.filter((row) => this.searchOf(row).toLowerCase().includes(wanted));
  }

  // Equal values keep the order of their keys, so that rows do not jump between polls.
  sorted(rows) {
    const sign = this.descending ? -1 : 1;
    const valueOf = this.sortColumn ? this.sortColumn.sort : () => 0;
    const keyed = rows.map((row) => ({ row, value: valueOf(row), key: this.keyOf(row) }));
    keyed.sort((a, b) => compare(a.value, b.value) * sign || byName(a.key, b.key));
    return keyed.map(({ row }) => row);
  }
}

function compare(left, right) {
  if (typeof left === "string") return byName(left, right);
  return (left ?? -1) - (right ?? -1);
}
