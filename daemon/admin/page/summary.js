// SPDX-License-Identifier: Apache-2.0
// Adds up the series of the window: per service, per version, per call between two services
// and per policy object. Maps throughout: "__proto__" is a name like any other.

import { byName, number } from "./format.js";
import { BUCKETS, F } from "./history.js";
import { serviceAsked, serviceKey, withoutVersion } from "./names.js";

// Requests that ended before a pod was chosen have no version.
export const REFUSED = "\u0000refused";
export const UNVERSIONED = "\u0000unversioned";

export function versionLabel(version) {
  if (version === REFUSED) return "no pod";
  return version === UNVERSIONED ? "no version" : version;
}

class Traffic {
  constructor(stride) {
    this.total = new Float64Array(stride);
    this.answers = new Map(); // "503 UO" -> requests
    this.versions = new Map(); // version -> counters
  }

  add(flat, at, series) {
    addInto(this.total, flat, at);
    const ended = flat[at + F.requests] + flat[at + F.closed];
    if (ended > 0) {
      const answer = series.get("status") + " " + series.get("flags");
      this.answers.set(answer, (this.answers.get(answer) || 0) + ended);
    }
    const version = versionOf(series);
    let counters = this.versions.get(version);
    if (!counters) {
      counters = new Float64Array(this.total.length);
      this.versions.set(version, counters);
    }
    addInto(counters, flat, at);
  }
}

function addInto(vector, flat, at) {
  for (let i = 0; i < vector.length; i += 1) vector[i] += flat[at + i];
}

function versionOf(series) {
  if (series.get("version") !== "") return series.get("version");
  const workload = series.get("workload");
  return workload === "" || workload === "unknown" ? REFUSED : UNVERSIONED;
}

class Service extends Traffic {
  constructor(stride, name, namespace) {
    super(stride);
    this.key = serviceKey(namespace, name);
    this.name = name;
    this.namespace = namespace;
    this.workloads = new Set();
    this.ownVersions = new Set(); // as a caller
    this.isCalled = false;
  }

  versionNames() {
    const names = [...this.versions.keys()].filter((name) => name !== REFUSED).sort(byName);
    return this.versions.has(REFUSED) ? [...names, REFUSED] : names;
  }
}

class Call extends Traffic {
  constructor(stride, source, target) {
    super(stride);
    this.key = source.key + "\u0000" + target.key;
    this.source = source;
    this.target = target;
  }
}

function getOrMake(map, key, make) {
  let value = map.get(key);
  if (!value) {
    value = make();
    map.set(key, value);
  }
  return value;
}

class Summary {
  constructor(history) {
    this.stride = history.stride;
    this.boundsMs = history.boundsMs;
    this.seconds = history.seconds();
    this.hasRates = this.seconds > 0;
    this.total = new Float64Array(this.stride);
    this.services = new Map();
    this.calls = new Map();
    this.objects = new Map();
    this.routes = new Map();
  }

  service(name, namespace) {
    const key = serviceKey(namespace, name);
    return getOrMake(this.services, key, () => new Service(this.stride, name, namespace));
  }

  target(series) {
    const { name, namespace } = serviceAsked(series);
    return this.service(name, namespace);
  }

  // The caller is the service of the same name, also when its workload carries the version.
  source(series) {
    const name = series.get("source") || "unknown";
    const namespace = series.get("source_namespace");
    const bare = withoutVersion(name, series.get("source_version"));
    if (this.services.has(serviceKey(namespace, name))) return this.service(name, namespace);
    return this.service(bare, namespace);
  }

  add(series, flat, at) {
    const target = this.target(series);
    const source = this.source(series);
    target.isCalled = true;
    target.add(flat, at, series);
    if (series.get("workload")) target.workloads.add(series.get("workload"));
    if (series.get("source_version")) source.ownVersions.add(series.get("source_version"));
    const callKey = source.key + "\u0000" + target.key;
    getOrMake(this.calls, callKey, () => new Call(this.stride, source, target)).add(
      flat,
      at,
      series,
    );
    addInto(this.total, flat, at);
    const object = series.get("object");
    if (!object) return;
    const route = object + "\u0000" + series.get("route");
    for (const [map, key] of [[this.objects, object], [this.routes, route]]) {
      addInto(getOrMake(map, key, () => new Float64Array(this.stride)), flat, at);
    }
  }

  // The calls of one service, busiest first.
  callsOf(service, side) {
    const calls = [...this.calls.values()].filter((call) => call[side] === service);
    return calls.sort((a, b) => b.total[F.requests] - a.total[F.requests]);
  }
}

export function summarise(history) {
  const summary = new Summary(history);
  const flat = history.totals();
  // Targets first: a caller is then found among them, whatever the order of the series.
  for (const series of history.series) summary.target(series);
  history.series.forEach((series, i) => summary.add(series, flat, i * history.stride));
  return summary;
}

// Requests and connections of which the end is known.
export function endedOf(vector) {
  return vector[F.requests] + vector[F.closed];
}

export function successOf(vector) {
  const ended = endedOf(vector);
  return ended > 0 ? 1 - vector[F.failed] / ended : null;
}

// What shares are shares of: requests, or connections where only those are seen.
export function amountOf(vector, service) {
  return vector[service.total[F.requests] > 0 ? F.requests : F.opened];
}

// ok, warn, bad or idle; always shown with its number beside the colour.
export function healthOf(vector) {
  const fraction = successOf(vector);
  if (fraction === null) return vector[F.opened] > 0 ? "ok" : "idle";
  if (fraction < 0.95) return "bad";
  return fraction < 0.999 || vector[F.limited] > 0 ? "warn" : "ok";
}

// The points of the two charts: samples of one service (null: all) put into bins of equal
// length that stay where they are while time moves on.
export class Timeline {
  constructor(history) {
    this.history = history;
    this.choose(null);
  }

  choose(key) {
    this.key = key;
    this.vectors = new WeakMap();
    this.wanted = [];
    this.seenSeries = 0;
  }

  isWanted(index) {
    const { series } = this.history;
    if (series.length < this.seenSeries) this.choose(this.key);
    for (; this.seenSeries < series.length; this.seenSeries += 1) {
      const { name, namespace } = serviceAsked(series[this.seenSeries]);
      this.wanted.push(this.key === null || serviceKey(namespace, name) === this.key);
    }
    return this.wanted[index];
  }

  vectorOf(sample) {
    const known = this.vectors.get(sample);
    if (known) return known;
    const { stride } = this.history;
    const vector = new Float32Array(stride);
    for (let i = 0; i < sample.keys.length; i += 1) {
      const key = sample.keys[i];
      if (this.isWanted(Math.floor(key / stride))) vector[key % stride] += sample.added[i];
    }
    this.vectors.set(sample, vector);
    return vector;
  }

  bins(fromMs, binMs) {
    const bins = new Map();
    for (const sample of this.history.samples) {
      if (sample.t <= fromMs) continue;
      const at = Math.ceil(sample.t / binMs) * binMs;
      const bin = getOrMake(bins, at, () => newBin(at, this.history.stride));
      addInto(bin.vector, this.vectorOf(sample), 0);
      bin.ms += sample.dt;
      // A page that was hidden has no points for that time: the line is broken there.
      bin.isAfterGap = bin.isAfterGap || sample.dt > Math.max(10000, 3 * binMs);
    }
    return [...bins.values()];
  }
}

function newBin(at, stride) {
  return { t: at, ms: 0, vector: new Float64Array(stride), isAfterGap: false };
}

export function ratePerSecond(vector, seconds, field = F.requests) {
  return seconds > 0 ? number(vector[field]) / seconds : 0;
}

export function hasHistogram(vector) {
  for (let i = BUCKETS; i < vector.length; i += 1) if (vector[i] > 0) return true;
  return false;
}
