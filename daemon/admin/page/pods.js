// SPDX-License-Identifier: Apache-2.0
// Section 6: what each pod costs the node's proxy.

import { byId, h, setText, setWidth, show } from "./dom.js";
import { bytes, core, count, list, micros, NONE, number, plural, rate, text } from "./format.js";
import { Table } from "./table.js";

function makeCpu(cell) {
  const bar = h("i", { class: "fill neutral" });
  const label = h("span", { class: "num" });
  cell.append(label, h("div", { class: "meter" }, bar));
  return { bar, label };
}

function drawCpu({ bar, label }, row) {
  setText(label, core(row.cores));
  setWidth(bar, row.most > 0 ? row.cores / row.most : 0);
}

function perRequest(row) {
  return row.requests > 0 ? row.cpuUs / row.requests : null;
}

function perRequestText(row) {
  return row.requests > 0 ? micros(row.cpuUs / row.requests) : NONE;
}

// What the node did not do for the pod, since the start.
const HELD_BACK = [
  ["flows_refused_by_cap", "connection refused: too many open", "connections refused: too many open"],
  ["flows_dropped_by_rate", "connection dropped: too many at once",
    "connections dropped: too many at once"],
  ["receives_held", "receive held back: many buffers in use",
    "receives held back: many buffers in use"],
];

function heldBackWords(pod) {
  const words = HELD_BACK.filter(([field]) => number(pod[field]) > 0).map(
    ([field, one, many]) => plural(number(pod[field]), one, many),
  );
  return words.join(", ");
}

function makeName(cell) {
  const state = { name: h("div", {}), held: h("div", { class: "warn-text" }) };
  cell.append(state.name, state.held);
  return state;
}

function drawName({ name, held }, row) {
  setText(name, row.name);
  setText(held, row.heldBack);
  show(held, row.heldBack !== "");
}

export class Pods {
  constructor() {
    this.table = new Table(byId("pods-box"), {
      label: "Pods",
      keyOf: (row) => row.name,
      searchOf: (row) => row.name,
      empty: "No pod is registered. Register one with: nodectl pod add NAME --ip ADDRESS " +
        "--ifname INTERFACE",
      sortBy: 5,
      descending: true,
      columns: [
        {
          title: "Pod",
          cls: "name",
          sort: (row) => row.name,
          make: makeName,
          draw: drawName,
        },
        { title: "Open", num: true, sort: (row) => row.open, text: (row) => count(row.open) },
        {
          title: "Requests",
          num: true,
          sort: (row) => row.requests,
          text: (row) => rate(row.requests / row.seconds),
        },
        {
          title: "Failed",
          num: true,
          sort: (row) => row.failures,
          text: (row) => (row.failures > 0 ? rate(row.failures / row.seconds) : NONE),
        },
        {
          title: "Bytes",
          num: true,
          sort: (row) => row.bytes,
          text: (row) => bytes(row.bytes / row.seconds) + "/s",
        },
        {
          title: "CPU of a core",
          cls: "limit",
          sort: (row) => row.cores,
          make: makeCpu,
          draw: drawCpu,
        },
        { title: "Each", num: true, sort: perRequest, text: perRequestText },
      ],
    });
  }

  update(overview, summary, history) {
    const seconds = Math.max(summary.seconds, 1e-3);
    const rows = list(overview.pods).map((pod) => {
      const name = text(pod.pod);
      const growth = history.gaugeGrowth("pods", name);
      const [requests = 0, bytesMoved = 0, cpuUs = 0, failures = 0] = growth;
      const cores = cpuUs / 1e6 / seconds;
      const open = number(pod.open);
      const heldBack = heldBackWords(pod);
      return { name, open, requests, failures, bytes: bytesMoved, cpuUs, cores, seconds, heldBack };
    });
    const most = Math.max(0, ...rows.map((row) => row.cores));
    this.table.update(rows.map((row) => ({ ...row, most })));
    setText(byId("pods-count"), rows.length > 0 ? plural(rows.length, "pod", "pods") : "");
  }
}
