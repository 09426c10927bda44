// SPDX-License-Identifier: Apache-2.0
// Section 5: the policies in force, what became of them and what they warn of.

import { byId, h, Keyed, setClass, setText, show } from "./dom.js";
import { list, NONE, number, plural, rate, text } from "./format.js";
import { shortHost } from "./names.js";
import { ratePerSecond } from "./summary.js";
import { Table } from "./table.js";

const IN_EFFECT = /^in effect(,|$)/; // ", per node": what its counters are of
const MOST_HOSTS = 3;

function objectName(policy) {
  const namespace = text(policy.namespace);
  return (namespace ? namespace + "/" : "") + text(policy.name);
}

function makeName(cell) {
  const state = { name: h("span", {}), namespace: h("span", { class: "muted" }) };
  cell.append(state.name, " ", state.namespace);
  return state;
}

function drawName({ name, namespace }, { policy }) {
  setText(name, text(policy.name));
  setText(namespace, text(policy.namespace));
}

function searchText({ policy }) {
  const hosts = list(policy.hosts).map(text);
  return [text(policy.kind), objectName(policy), text(policy.status), ...hosts].join(" ");
}

function makeStatus(cell) {
  const state = {
    status: h("span", {}),
    reason: h("div", { class: "muted" }),
    warnings: h("ul", { class: "warnings" }),
  };
  cell.append(state.status, state.reason, state.warnings);
  state.lines = new Keyed(
    state.warnings,
    () => ({ element: h("li", {}) }),
    ({ element }, words) => setText(element, "Warning: " + words),
  );
  return state;
}

function drawStatus(state, { policy }) {
  const status = text(policy.status) || "unknown";
  setText(state.status, status);
  setClass(state.status, "health " + (IN_EFFECT.test(status) ? "ok" : "warn"));
  setText(state.reason, text(policy.reason));
  show(state.reason, text(policy.reason) !== "");
  const warnings = list(policy.warnings).map(text);
  state.lines.update(warnings, (words) => words);
  show(state.warnings, warnings.length > 0);
}

function hostsText({ policy }) {
  const hosts = list(policy.hosts).map(shortHost);
  const more = hosts.length - MOST_HOSTS;
  const shown = hosts.slice(0, MOST_HOSTS).join(", ");
  return more > 0 ? shown + " and " + more + " more" : shown || NONE;
}

function decided({ policy, summary }) {
  const counters = summary.objects.get(text(policy.kind) + " " + objectName(policy));
  return counters ? ratePerSecond(counters, summary.seconds) : null;
}

function decidedText(row) {
  const value = decided(row);
  return value === null ? NONE : rate(value);
}

export class Policies {
  constructor() {
    this.table = new Table(byId("policies-box"), {
      label: "Policies in force",
      keyOf: ({ policy }) => text(policy.kind) + " " + objectName(policy),
      searchOf: searchText,
      empty: "No policy is loaded. Requests go to every pod of a service in turn. " +
        "Load one with: nodectl apply -f FILE",
      columns: [
        {
          title: "Kind",
          cls: "short",
          sort: (row) => text(row.policy.kind),
          text: (row) => text(row.policy.kind),
        },
        {
          title: "Name",
          cls: "name",
          sort: (row) => text(row.policy.name),
          make: makeName,
          draw: drawName,
        },
        { title: "Services", cls: "wrap", text: hostsText },
        {
          title: "Status",
          cls: "wrap",
          sort: (row) => text(row.policy.status),
          make: makeStatus,
          draw: drawStatus,
        },
        { title: "Decided", num: true, sort: decided, text: decidedText },
      ],
    });
  }

  update(overview, summary) {
    const policies = list(overview.policies);
    this.table.update(policies.map((policy) => ({ policy, summary })));
    const warnings = policies.reduce((sum, policy) => sum + list(policy.warnings).length, 0);
    const words = [policies.length > 0 && plural(policies.length, "object", "objects")];
    if (warnings > 0) words.push(plural(warnings, "warning", "warnings"));
    const leftOut = number(overview.policies_left_out);
    if (leftOut > 0) words.push(plural(leftOut, "more is", "more are") + " not listed");
    setText(byId("policies-count"), words.filter(Boolean).join(", "));
  }
}
