// SPDX-License-Identifier: Apache-2.0
// Section 3: every service, and how its requests are divided among its versions.

import { byId, h, Keyed, setAttr, setClass, setText, setWidth } from "./dom.js";
import { NONE, rate, share } from "./format.js";
import { F } from "./history.js";
import { quantile, quantileText } from "./quantile.js";
import {
  amountOf,
  endedOf,
  healthOf,
  ratePerSecond,
  REFUSED,
  successOf,
  versionLabel,
} from "./summary.js";
import { successText, trafficText } from "./graph_shapes.js";
import { Table } from "./table.js";

const COLOURS = 6;

function partsOf(row) {
  const { service, summary } = row;
  const all = amountOf(service.total, service);
  return service.versionNames().map((name, i) => {
    const amount = amountOf(service.versions.get(name), service);
    return {
      name,
      label: versionLabel(name),
      cls: name === REFUSED ? "v-none" : "v" + (i % COLOURS),
      fraction: all > 0 ? amount / all : 0,
      rate: rate(summary.seconds > 0 ? amount / summary.seconds : 0),
    };
  });
}

function makeShares(cell) {
  const bar = h("div", { class: "stack", role: "img" });
  const legend = h("div", { class: "stack-legend" });
  cell.append(bar, legend);
  const segments = new Keyed(
    bar,
    () => ({ element: h("span", {}) }),
    ({ element }, part) => {
      setClass(element, part.cls);
      setWidth(element, part.fraction);
      setAttr(element, "title", part.label + " " + share(part.fraction));
    },
  );
  const keys = new Keyed(
    legend,
    () => {
      const [dot, label] = [h("i", {}), h("b", {})];
      const fraction = h("span", { class: "num" });
      const perSecond = h("span", { class: "num muted" });
      const element = h("span", { class: "version" }, dot, label, fraction, perSecond);
      return { element, dot, label, fraction, perSecond };
    },
    (entry, part) => {
      setClass(entry.dot, part.cls);
      setText(entry.label, part.label);
      setText(entry.fraction, share(part.fraction));
      setText(entry.perSecond, part.rate);
    },
  );
  return { bar, segments, keys };
}

function drawShares({ bar, segments, keys }, row) {
  const parts = partsOf(row);
  const spoken = parts.map((part) => part.label + " " + share(part.fraction));
  setAttr(bar, "aria-label", "Share per version: " + spoken.join(", "));
  segments.update(
    parts.filter((part) => part.fraction > 0),
    (part) => part.name,
  );
  keys.update(parts, (part) => part.name);
}

function percentile(title, q) {
  return {
    title,
    num: true,
    text: (row) => quantileText(row.service.total, row.summary.boundsMs, q),
    sort: (row) => quantile(row.service.total, row.summary.boundsMs, q),
  };
}

function drawSuccess(_, row, cell) {
  setText(cell, successText(row.service.total) || NONE);
  const isKnown = endedOf(row.service.total) > 0;
  setClass(cell, isKnown ? "num health " + healthOf(row.service.total) : "num");
}

export class Services {
  constructor({ onChoose }) {
    this.table = new Table(byId("services-box"), {
      label: "Services and versions",
      keyOf: (row) => row.service.key,
      searchOf: (row) => row.service.key,
      empty: "No service has been called yet. Each appears here with its first request.",
      sortBy: 0,
      columns: [
        {
          title: "Service",
          cls: "name",
          sort: (row) => row.service.name,
          make: (cell) => this.makeName(cell, onChoose),
          draw: (state, row) => this.drawName(state, row),
        },
        {
          title: "Requests",
          num: true,
          sort: (row) => row.service.total[F.requests],
          text: ({ service, summary }) =>
            trafficText(service.total, summary.seconds, summary.hasRates),
        },
        {
          title: "Success",
          num: true,
          sort: (row) => successOf(row.service.total),
          draw: drawSuccess,
        },
        percentile("p50", 0.5),
        percentile("p90", 0.9),
        percentile("p99", 0.99),
        {
          title: "Rate limited",
          num: true,
          sort: (row) => row.service.total[F.limited],
          text: (row) => this.perSecond(row, F.limited),
        },
        {
          title: "Retries",
          num: true,
          sort: (row) => row.service.total[F.retries],
          text: (row) => this.perSecond(row, F.retries),
        },
        { title: "Share per version", cls: "shares", make: makeShares, draw: drawShares },
      ],
    });
  }

  perSecond({ service, summary }, field) {
    const value = service.total[field];
    return value > 0 ? rate(ratePerSecond(service.total, summary.seconds, field)) : NONE;
  }

  makeName(cell, onChoose) {
    const state = { name: h("span", {}), namespace: h("span", { class: "muted" }), key: "" };
    const choose = () => onChoose(state.key);
    state.button = h("button", { type: "button", class: "link", on: { click: choose } });
    state.button.append(state.name);
    cell.append(state.button, " ", state.namespace);
    return state;
  }

  drawName(state, { service, chosen }) {
    state.key = service.key;
    setText(state.name, service.name);
    setText(state.namespace, service.namespace);
    setAttr(state.button, "title", service.key);
    setAttr(state.button, "aria-pressed", String(service.key === chosen));
  }

  update(summary, chosen) {
    const called = [...summary.services.values()].filter((service) => service.isCalled);
    this.table.update(called.map((service) => ({ service, summary, chosen })));
  }
}
