// SPDX-License-Identifier: Apache-2.0
// The header: which daemon this is, how it does in one line, and whether the page is live.

import { byId, setClass, setText, show } from "./dom.js";
import { clock, count, NONE, number, plural, rate, span, text } from "./format.js";
import { F } from "./history.js";
import { quantileText } from "./quantile.js";
import { endedOf, healthOf, ratePerSecond } from "./summary.js";
import { successText } from "./graph_shapes.js";

const TITLE = "nodeproxy";

function lostWords(overview) {
  const logs = number(overview.logs_lost);
  const traces = number(overview.traces_lost);
  const lost = [];
  if (logs > 0) lost.push(plural(logs, "log line", "log lines"));
  if (traces > 0) lost.push(plural(traces, "trace", "traces"));
  return lost.length > 0 ? lost.join(", ") + " lost" : "";
}

export function drawHeader(overview, summary, history) {
  const instance = text(overview.instance) || TITLE;
  document.title = instance === TITLE ? TITLE : instance + " · " + TITLE;
  setText(byId("instance"), instance);
  setText(byId("version"), text(overview.version));
  const started = number(overview.started_unix_ms);
  setText(byId("uptime"), started > 0 ? span(history.nowMs - started) : NONE);
  setText(byId("shards"), count(number(overview.shards)));
  setText(byId("revision"), count(number(overview.revision)));
  const { total, seconds, hasRates, boundsMs } = summary;
  setText(byId("kpi-rate"), hasRates ? rate(ratePerSecond(total, seconds)) : NONE);
  setText(byId("kpi-success"), successText(total) || NONE);
  const isKnown = endedOf(total) > 0;
  setClass(byId("kpi-success"), isKnown ? "num health " + healthOf(total) : "num");
  setText(byId("kpi-p50"), quantileText(total, boundsMs, 0.5));
  setText(byId("kpi-p99"), quantileText(total, boundsMs, 0.99));
  setText(byId("kpi-open"), count(number(overview.open_connections)));
  const failed = total[F.failed];
  byId("kpi-success").title = count(failed) + " of " + count(endedOf(total)) + " failed";
  setText(byId("overload"), overview.overloaded ? "overloaded" : "normal");
  setClass(byId("overload"), "health " + (overview.overloaded ? "bad" : "ok"));
  const lost = lostWords(overview);
  setText(byId("lost"), lost);
  show(byId("lost"), lost !== "");
}

// A frozen page must not look like a calm one.
export class Connection {
  constructor() {
    this.lastAnswer = 0;
    this.failure = "";
    setInterval(() => this.draw(), 1000);
  }

  answered() {
    this.lastAnswer = Date.now();
    this.failure = "";
    this.draw();
  }

  failed(error) {
    const isSilent = error.name === "TypeError" || error.name === "TimeoutError";
    this.failure = isSilent ? "the daemon does not answer" : error.message;
    this.draw();
  }

  draw() {
    const isLost = this.failure !== "";
    show(byId("banner"), isLost);
    document.body.classList.toggle("stale", isLost);
    setText(byId("live"), isLost ? "not live" : this.lastAnswer ? "live" : "connecting");
    setClass(byId("live"), "health " + (isLost ? "bad" : this.lastAnswer ? "ok" : "idle"));
    if (!isLost) return;
    setText(byId("banner-title"), "Connection lost: " + this.failure + ".");
    // The alert itself stays the same text, so that it is read out once and not every second.
    const age = span(Date.now() - this.lastAnswer);
    const shown = this.lastAnswer
      ? `What you see is from ${clock(this.lastAnswer)}, ${age} ago. Trying again.`
      : "Trying again every 2 s.";
    setText(byId("banner-detail"), shown);
  }
}
