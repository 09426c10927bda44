// SPDX-License-Identifier: Apache-2.0
// What the names in the counters stand for: which service a host is, what a flag says.

import { text } from "./format.js";

export function serviceKey(namespace, name) {
  return namespace + "/" + name;
}

// "ratings.default.svc.cluster.local:9080" is ratings in default; any other host is itself.
export function serviceOfHost(host) {
  const bare = text(host).replace(/:\d+$/, "");
  const parts = bare.split(".");
  if (parts.length >= 3 && parts[2] === "svc") return { name: parts[0], namespace: parts[1] };
  return { name: bare, namespace: "" };
}

// Whom a request asked for. What was refused before a service was found had none in mind.
export function serviceAsked(series) {
  const { name, namespace } = serviceOfHost(series.get("host"));
  const workload = series.get("workload");
  const isKnown = workload !== "" && workload !== "unknown";
  return { name: name || (isKnown ? workload : "no service"), namespace };
}

export function keyOfHost(host) {
  const service = serviceOfHost(host);
  return serviceKey(service.namespace, service.name);
}

export function shortHost(host) {
  return serviceOfHost(host).name;
}

// outbound|9080|v1|ratings.default.svc.cluster.local
export function clusterParts(cluster) {
  const parts = text(cluster).split("|");
  if (parts.length < 4) return { host: text(cluster), subset: "", isOriginal: false };
  const isOriginal = parts[0] === "original-dst";
  return { subset: parts[2], host: parts.slice(3).join("|"), isOriginal };
}

// A Kubernetes workload carries its version in its name (reviews-v2); the service does not.
export function withoutVersion(name, version) {
  const suffix = "-" + version;
  return version && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
}

const FLAGS = new Map([
  ["UH", "no healthy endpoint"],
  ["UF", "connecting failed"],
  ["UO", "over a connection or queue limit"],
  ["UC", "the pod closed the connection"],
  ["UR", "the pod reset the request"],
  ["LR", "reset here"],
  ["UT", "the pod took too long"],
  ["URX", "retries used up"],
  ["UPE", "the pod's answer is not valid"],
  ["NR", "no route"],
  ["NC", "no such cluster"],
  ["DI", "delay injected"],
  ["FI", "abort injected"],
  ["RL", "over a rate limit"],
  ["RLSE", "rate limit not decidable"],
  ["UAEX", "not authorised"],
  ["IH", "bad header"],
  ["SI", "idle too long"],
  ["DC", "the client left"],
  ["DPE", "the client's request is not valid"],
  ["UMSDR", "the stream lasted too long"],
  ["DT", "the connection lasted too long"],
  ["OM", "the proxy is overloaded"],
]);

export function flagWords(flags) {
  return text(flags)
    .split(",")
    .filter((flag) => flag !== "" && flag !== "-")
    .map((flag) => FLAGS.get(flag) || flag)
    .join(", ");
}
