// SPDX-License-Identifier: Apache-2.0
// The page: polls the daemon, keeps the history, draws the sections. It only reads.

import { Charts } from "./charts.js";
import { byId, show } from "./dom.js";
import { badgesOf, Effects } from "./effects.js";
import { Graph } from "./graph.js";
import { Connection, drawHeader } from "./header.js";
import { History } from "./history.js";
import { Pods } from "./pods.js";
import { Policies } from "./policies.js";
import { Poller } from "./poller.js";
import { Services } from "./services.js";
import { summarise } from "./summary.js";
import { Traces } from "./traces.js";

const EVERY_MS = 2000;
const FIRST_AGAIN_MS = 700; // rates need two polls: nobody waits two seconds for the first

// What the address says after #: the chosen service and the open trace.
function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  return { service: params.get("service") || null, trace: params.get("trace") || null };
}

function writeAddress(change) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...readAddress(), ...change })) {
    if (value) params.set(name, value);
  }
  const hash = params.toString();
  history.pushState(null, "", hash ? "#" + hash : location.pathname + location.search);
}

// What the daemon left out is as it was. A new worker counts on from what was saved and may come to
// the same number by another way: it is asked for all it has.
function withPolicies(overview, before) {
  if (!before || overview.policies !== undefined) return { ...overview, known: overview.revision };
  const { policies, faults, policies_left_out, started_unix_ms } = before;
  const known = overview.started_unix_ms === started_unix_ms ? before.known : 0;
  return { policies, faults, policies_left_out, ...overview, known };
}

class Page {
  constructor() {
    this.history = new History();
    this.address = { service: null, trace: null };
    const onChoose = (key) => this.choose(key);
    this.graph = new Graph({ onChoose });
    this.charts = new Charts(this.history, { onChoose: (key) => this.go({ service: key }) });
    this.services = new Services({ onChoose });
    this.effects = new Effects();
    this.policies = new Policies();
    this.pods = new Pods();
    this.traces = new Traces({ onOpen: (trace) => this.go({ trace }) });
    this.connection = new Connection();
    this.listen();
  }

  listen() {
    const picker = byId("window");
    picker.addEventListener("change", () => {
      this.history.setWindow(Number(picker.value) * 1000);
      this.draw();
    });
    this.history.setWindow(Number(picker.value) * 1000);
    window.addEventListener("popstate", () => this.follow());
    window.addEventListener("hashchange", () => this.follow());
    for (const link of document.querySelectorAll("nav a")) {
      link.addEventListener("click", (event) => this.jump(event, link));
    }
  }

  // The address belongs to the chosen service and trace: a jump within the page leaves it.
  jump(event, link) {
    const section = byId(link.getAttribute("href").slice(1));
    section.scrollIntoView();
    section.focus({ preventScroll: true });
    event.preventDefault();
  }

  start() {
    this.poller = new Poller({
      // Policies come along only when they have changed.
      path: () => "api/overview?revision=" + (this.overview?.known ?? 0),
      everyMs: EVERY_MS,
      onData: (overview) => this.onOverview(overview),
      onFailure: (error) => this.connection.failed(error),
    });
    this.poller.wake();
    this.follow();
  }

  onOverview(overview) {
    this.overview = withPolicies(overview, this.overview);
    const isFirst = byId("sections").hidden;
    show(byId("waiting"), false);
    show(byId("sections"), true);
    this.history.ingest(this.overview);
    this.draw();
    if (isFirst && this.address.trace) byId("traces").scrollIntoView();
    this.connection.answered();
    return this.history.samples.length === 0 ? FIRST_AGAIN_MS : EVERY_MS;
  }

  choose(key) {
    this.go({ service: key === this.address.service ? null : key });
  }

  go(change) {
    writeAddress(change);
    this.follow();
  }

  follow() {
    const before = this.address;
    this.address = readAddress();
    if (before.trace !== this.address.trace) {
      this.traces.choose(this.address.trace);
      if (this.address.trace && !before.trace) byId("traces").scrollIntoView();
    }
    this.draw();
  }

  draw() {
    const { overview, history, address } = this;
    if (!overview) return;
    const summary = summarise(history);
    drawHeader(overview, summary, history);
    this.graph.update(summary, badgesOf(overview), address.service);
    this.charts.update(summary, address.service);
    this.services.update(summary, address.service);
    this.effects.update(overview, summary, history);
    this.policies.update(overview, summary);
    this.pods.update(overview, summary, history);
  }
}

new Page().start();
