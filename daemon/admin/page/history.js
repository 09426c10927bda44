// SPDX-License-Identifier: Apache-2.0
// Counters over time. Each poll leaves a sample with what was added since the poll before it;
// the sums over the chosen window are kept up to date by adding the newest sample and taking
// away the expired ones, so that an update costs the same for one minute and for fifteen.

import { list, number, text } from "./format.js";

export const KEEP_MS = 15 * 60 * 1000;
export const SINCE_START = 0;

// Fields of one kind of request; its histogram follows them. Opaque connections are opened and
// closed: they are no requests, and how long they last is no latency.
export const F = {
  requests: 0,
  failed: 1,
  limited: 2,
  opened: 3,
  delays: 4,
  aborts: 5,
  retries: 6,
  durationUs: 7,
  bytesIn: 8,
  bytesOut: 9,
  closed: 10,
};
export const BUCKETS = 11;

const IDENTITY = [
  "source",
  "source_namespace",
  "source_version",
  "host",
  "workload",
  "version",
  "route",
  "object",
  "status",
  "flags",
  "protocol",
];

// A failure is an answer of 500 or more, or none at all. 4xx is the client's affair. A connection
// has no answer: it failed when a flag says why.
function isFailure(request, isOpaque) {
  if (isOpaque) return text(request.flags).split(",").some((flag) => flag && flag !== "DI");
  const status = number(request.status);
  return status >= 500 || status === 0;
}

function readCounters(request, into) {
  const isOpaque = request.protocol === "tcp";
  const ended = number(request.requests);
  const status = number(request.status);
  into[F.requests] = isOpaque ? 0 : ended;
  into[F.closed] = isOpaque ? ended : 0;
  into[F.failed] = isFailure(request, isOpaque) ? ended : 0;
  into[F.limited] = status === 429 ? ended : 0;
  into[F.opened] = number(request.opened);
  into[F.delays] = number(request.delays);
  into[F.aborts] = number(request.aborts);
  into[F.retries] = number(request.retries);
  into[F.durationUs] = isOpaque ? 0 : number(request.duration_us);
  into[F.bytesIn] = number(request.request_bytes);
  into[F.bytesOut] = number(request.response_bytes);
  const buckets = isOpaque ? [] : list(request.buckets);
  for (let i = BUCKETS; i < into.length; i += 1) into[i] = number(buckets[i - BUCKETS]);
}

function wentBack(now, last, at) {
  return [F.requests, F.opened, F.closed].some((field) => now[field] < last[at + field]);
}

export class History {
  constructor() {
    this.windowMs = 60 * 1000;
    this.reset([]);
  }

  reset(boundsMs) {
    this.boundsMs = boundsMs;
    this.stride = BUCKETS + boundsMs.length + 1;
    this.series = [];
    this.indexOf = new Map();
    this.last = new Float64Array(0);
    this.sums = new Float64Array(0);
    this.samples = [];
    this.first = 0; // the oldest sample inside the window
    this.startedMs = 0;
    this.nowMs = 0;
    this.restarts = [];
    this.baseline = null;
  }

  ingest(overview) {
    const bounds = list(overview.duration_bounds_ms).map(number);
    if (bounds.join() !== this.boundsMs.join()) this.reset(bounds);
    const isFirst = this.nowMs === 0;
    const before = this.nowMs;
    const started = number(overview.started_unix_ms);
    const isRestart = !isFirst && started !== this.startedMs;
    this.nowMs = number(overview.now_unix_ms) || Date.now();
    this.startedMs = started;
    const rows = this.readRows(list(overview.requests));
    if (isRestart) {
      this.restarts.push(this.nowMs);
      if (this.countsFromZero(rows)) this.last.fill(0);
    }
    const since = isRestart ? Math.max(before, started) : before;
    const sample = this.takeSample(rows, isFirst);
    sample.t = this.nowMs;
    sample.dt = Math.max(1, this.nowMs - since);
    sample.gauges = readGauges(overview);
    if (isFirst) {
      this.baseline = sample;
    } else {
      this.push(sample);
    }
  }

  readRows(requests) {
    const rows = new Map();
    const read = new Float64Array(this.stride);
    for (const request of requests) {
      const index = this.find(request);
      readCounters(request, read);
      const known = rows.get(index);
      // Two rows that say the same of themselves are one series.
      if (known) read.forEach((value, field) => (known.values[field] += value));
      else rows.set(index, { index, values: read.slice() });
    }
    return [...rows.values()];
  }

  find(request) {
    const key = JSON.stringify(IDENTITY.map((name) => text(request[name])));
    const known = this.indexOf.get(key);
    if (known !== undefined) return known;
    const index = this.series.length;
    const labels = new Map(IDENTITY.map((name) => [name, text(request[name])]));
    this.series.push(labels);
    this.indexOf.set(key, index);
    this.grow((index + 1) * this.stride);
    return index;
  }

  grow(length) {
    if (length <= this.last.length) return;
    const capacity = Math.max(length * 2, 64 * this.stride);
    for (const name of ["last", "sums"]) {
      const wider = new Float64Array(capacity);
      wider.set(this[name]);
      this[name] = wider;
    }
  }

  // The counters of a daemon may outlive its process. After a restart they began again only
  // when one of them went back or is gone.
  countsFromZero(rows) {
    const seen = new Set(rows.map((row) => row.index));
    const gone = this.series.some(
      (_, index) => !seen.has(index) && this.hasCounted(index * this.stride),
    );
    return gone || rows.some((row) => wentBack(row.values, this.last, row.index * this.stride));
  }

  hasCounted(at) {
    return this.last[at + F.requests] > 0 || this.last[at + F.closed] > 0;
  }

  // The first poll only says where the counters stood when the page was opened.
  takeSample(rows, isFirst) {
    const keys = [];
    const added = [];
    for (const { index, values } of rows) {
      const at = index * this.stride;
      const isReset = wentBack(values, this.last, at);
      for (let field = 0; field < this.stride; field += 1) {
        const delta = values[field] - (isReset ? 0 : this.last[at + field]);
        this.last[at + field] = values[field];
        if (isFirst || delta <= 0) continue;
        keys.push(at + field);
        added.push(delta);
      }
    }
    // Sparse and short: fifteen minutes of a thousand busy series stay below 40 MB.
    return { keys: Uint32Array.from(keys), added: Float32Array.from(added) };
  }

  push(sample) {
    this.samples.push(sample);
    this.apply(sample, 1);
    this.expire();
    while (this.samples.length > 0 && this.samples[0].t < this.nowMs - KEEP_MS) {
      this.baseline = this.samples.shift();
      this.first = Math.max(0, this.first - 1);
    }
    this.restarts = this.restarts.filter((at) => at >= this.nowMs - KEEP_MS);
  }

  apply(sample, sign) {
    const { keys, added } = sample;
    for (let i = 0; i < keys.length; i += 1) this.sums[keys[i]] += sign * added[i];
  }

  expire() {
    const oldest = this.nowMs - (this.windowMs || KEEP_MS);
    while (this.first < this.samples.length - 1 && this.samples[this.first].t <= oldest) {
      this.apply(this.samples[this.first], -1);
      this.first += 1;
    }
  }

  setWindow(windowMs) {
    this.windowMs = windowMs;
    this.sums.fill(0);
    this.first = 0;
    for (const sample of this.samples) this.apply(sample, 1);
    if (this.samples.length > 0) this.expire();
  }

  // What the sections add up: one flat array, `stride` numbers per series.
  totals() {
    return this.windowMs === SINCE_START ? this.last : this.sums;
  }

  seconds() {
    if (this.windowMs === SINCE_START) return Math.max(1, (this.nowMs - this.startedMs) / 1000);
    let ms = 0;
    for (let i = this.first; i < this.samples.length; i += 1) ms += this.samples[i].dt;
    return ms / 1000;
  }

  // How much a counter outside the request series grew within the window.
  gaugeGrowth(name, key) {
    const newest = this.samples.at(-1) || this.baseline;
    const now = newest && newest.gauges[name].get(key);
    if (!now) return [];
    const from = this.samples[this.first - 1] || this.baseline;
    const then = this.windowMs === SINCE_START ? null : from.gauges[name].get(key);
    return now.map((value, i) => {
      const base = then ? then[i] : 0;
      return value < base ? value : value - base;
    });
  }
}

function readGauges(overview) {
  const pods = new Map();
  for (const pod of list(overview.pods)) {
    const fields = [pod.requests, pod.bytes, pod.cpu_us, pod.failures];
    pods.set(text(pod.pod), fields.map(number));
  }
  const limits = new Map();
  for (const limit of list(overview.limits)) {
    limits.set(text(limit.cluster), [number(limit.refused)]);
  }
  return { pods, limits };
}
