// SPDX-License-Identifier: Apache-2.0
// explain: the places that the request may go to, each with what may keep it from getting there.
#include <nlohmann/json.hpp>

#include "base/time.h"
#include "explain_text.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

std::string percent_text(const Json& object) {
  return number_text(object.value("percent", 0.0)) + " %";
}

// ---- fault -----------------------------------------------------------------------------------

std::string delay_text(const Json& delay) {
  const std::string shape = value_text(delay, "shape");
  const std::string first = milliseconds_text(delay.value("ms", 0.0));
  const std::string second = milliseconds_text(delay.value("second_ms", 0.0));
  if (shape == "uniform") return "between " + first + " and " + second;
  if (shape == "normal") return "about " + first + ", deviation " + second;
  if (shape == "exponential") return "exponential, mean " + first;
  return first;
}

void write_fault(const Json& fault, Page& page) {
  const uint32_t in_shadow = fault.value("in_shadow", 0U);
  if (in_shadow > 0) {
    page.entry("shadow",
               std::to_string(in_shadow) + " fault" + (in_shadow > 1 ? "s" : "") +
                   " in shadow mode: counted, not injected",
               2);
  }
  if (!fault.contains("object")) {
    page.entry("fault", "none", 2);
    return;
  }
  page.entry("fault", "of " + value_text(fault, "object") + ", " + value_text(fault, "name"), 2);
  if (fault.contains("delay")) {
    page.entry(
        "delay",
        percent_text(fault["delay"]) + " of such requests wait " + delay_text(fault["delay"]), 2);
  }
  if (fault.contains("abort")) {
    const uint32_t status = fault["abort"].value("status", 0U);
    const bool after = fault.contains("delay");
    page.entry("abort",
               percent_text(fault["abort"]) + (after ? ", drawn anew, " : " ") +
                   (status == 0 ? "have their connection reset"
                                : "are answered " + std::to_string(status)),
               2);
  }
  if (fault.contains("bandwidth")) {
    page.entry("slow",
               percent_text(fault["bandwidth"]) + " of answers come at " +
                   std::to_string(fault["bandwidth"].value("bytes_per_second", uint64_t{0})) +
                   " bytes/s",
               2);
  }
  if (fault.value("within_limits", false)) {
    page.entry("", "the timeout runs during the delay, and an abort is repeated as any 5xx", 2);
  }
}

// ---- rate limits, limits ---------------------------------------------------------------------

void write_checks(const Json& checks, Page& page) {
  if (checks.empty()) {
    page.entry("rate limits", "none", 2);
    return;
  }
  for (const Json& check : checks) {
    if (value_text(check, "kind") == "denial") {
      page.entry(
          "denied",
          std::to_string(check.value("status", 0)) + " \"" + value_text(check, "body") + "\"", 2);
      continue;
    }
    std::string text = value_text(check, "name") + ": " + std::to_string(check.value("limit", 0)) +
                       " " + value_text(check, "window");
    std::string by;
    for (const Json& value : check["dimensions"]) {
      by += (by.empty() ? "" : ", ") + value.get<std::string>();
    }
    if (!by.empty()) text += ", counted for " + by;
    if (check.value("costs", 1) != 1) text += ", costs " + std::to_string(check.value("costs", 1));
    if (check.value("shadow", false)) text += " (shadow)";
    if (check.contains("spent")) {
      text += ", spent " + std::to_string(check.value("spent", 0));
      if (check.value("exhausted", false)) text += ": now 429";
    }
    page.entry("rate limit", text, 2);
  }
}

std::string part_text(const char* what, const Json& limit, const Json& fill, const char* filled) {
  if (limit.is_null()) return "";
  std::string text = std::string(what) + " ";
  if (!fill.is_null()) text += std::to_string(fill.value(filled, 0U)) + " of ";
  return text + std::to_string(limit.get<uint32_t>());
}

// "connections 1 of 2, waiting 0 of 1, per node"
std::string limits_line(const Json& limits, const Json& fill) {
  std::string text;
  for (const std::string& part :
       {part_text("connections", limits["max_connections"], fill, "running"),
        part_text("requests", limits["max_requests"], fill, "running"),
        part_text("waiting", limits["max_pending_requests"], fill, "waiting"),
        part_text("retries", limits["max_retries"], fill, "retries")}) {
    if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
  }
  return text + ", per " + value_text(limits, "scope");
}

void write_limits(const Json& destination, Page& page) {
  if (destination.contains("shadow_limits")) {
    const Json& shadow = destination["shadow_limits"];
    page.entry(
        "in shadow",
        limits_line(shadow, Json()) + ": counted, not enforced, by " + value_text(shadow, "object"),
        2);
  }
  const Json& limits = destination["limits"];
  if (limits.is_null()) {
    page.entry("limits", "none", 2);
    return;
  }
  const Json fill = limits.contains("fill") ? limits["fill"] : Json();
  page.entry("limits", limits_line(limits, fill), 2);
  if (limits.contains("retry_budget")) {
    const Json& budget = limits["retry_budget"];
    page.entry("",
               "repeats at most " + percent_text(budget) + " of requests, or " +
                   std::to_string(budget.value("minimum", 0)),
               3);
  }
  if (!fill.is_null()) {
    page.entry("now",
               value_text(limits, "now") + "; " + std::to_string(fill.value("connections", 0U)) +
                   " connections open, " + std::to_string(fill.value("rejected", uint64_t{0})) +
                   " requests refused so far",
               2);
  }
}

// ---- endpoints -------------------------------------------------------------------------------

std::string ejection_text(const Json& rule) {
  std::string text;
  const uint32_t errors = rule.value("consecutive_5xx", 0U);
  const uint32_t gateway = rule.value("consecutive_gateway_errors", 0U);
  if (errors != 0) text = "after " + std::to_string(errors) + " x 5xx in a row";
  if (gateway != 0) {
    text += (text.empty() ? "after " : " or ") + std::to_string(gateway) + " x 502, 503, 504";
  }
  if (rule.value("by_interval", false)) {
    text += (text.empty() ? "" : ", ") + std::string("by interval of ") +
            milliseconds_text(rule.value("interval_ms", 0.0));
  }
  return text + " for " + milliseconds_text(rule.value("ejection_ms", 0.0)) + ", at most " +
         std::to_string(rule.value("max_percent", 0U)) + " % of endpoints";
}

void write_ejection(const Json& destination, Page& page) {
  if (destination.contains("ejection")) {
    page.entry("ejection", ejection_text(destination["ejection"]), 2);
  } else {
    page.entry("ejection", destination.value("health_checked", false) ? "by health checks" : "none",
               2);
  }
  if (!destination.contains("shadow_ejection")) return;
  page.entry("in shadow",
             ejection_text(destination["shadow_ejection"]) + ": counted, nobody is ejected", 2);
}

std::string endpoint_text(const Json& endpoint, uint64_t total_weight, bool panic) {
  std::string text = value_text(endpoint, "address");
  const std::string pod = value_text(endpoint, "pod");
  if (!pod.empty()) text += " " + pod;
  const uint64_t weight = endpoint.value("weight", 0U);
  if (total_weight > 0 && (panic || !endpoint.value("out", false))) {
    text += ", weight " + std::to_string(weight) + " of " + std::to_string(total_weight);
  }
  text += ", " + value_text(endpoint, "state");
  const uint64_t until = endpoint.value("until_unix_ns", uint64_t{0});
  const uint64_t now = wall_clock_ns();
  if (until > now) text += " for " + age_text(now, until) + " more";
  const std::string reason = value_text(endpoint, "reason");
  if (!reason.empty()) text += ": " + reason;
  if (endpoint.value("by_hash", false)) text += "; the request's hash is its";
  return text;
}

void write_endpoints(const Json& destination, Page& page) {
  if (destination.value("as_dialled", false)) {
    page.entry("endpoint", "the address that was dialled", 2);
    return;
  }
  const Json& endpoints = destination["endpoints"];
  if (endpoints.empty() || destination.value("available", 0U) == 0) {
    page.entry("endpoints",
               endpoints.empty() ? "none: 503, no healthy upstream"
                                 : "none in service: 503, no healthy upstream",
               2);
  } else {
    page.entry("endpoints",
               std::to_string(destination.value("available", 0U)) + " of " +
                   std::to_string(endpoints.size()) + " in use, " +
                   value_text(destination, "load_balancing"),
               2);
  }
  const bool panic = destination.value("panic", false);
  if (panic) page.entry("panic", "too few are in service: all are used", 2);
  uint64_t total = 0;
  for (const Json& endpoint : endpoints) {
    if (panic || !endpoint.value("out", false)) total += endpoint.value("weight", 0U);
  }
  for (const Json& endpoint : endpoints) {
    page.entry("", "- " + endpoint_text(endpoint, total, panic), 2);
  }
}

void write_destination(const Json& destination, bool forwards, Page& page) {
  const std::string cluster = value_text(destination, "cluster");
  const std::string subset = value_text(destination, "subset");
  const std::string share = number_text(destination.value("share_percent", 0.0)) + " %";
  if (!forwards) {
    page.entry("before that", "", 1);
  } else if (cluster.empty()) {
    page.entry(share, "unknown host or subset: 503", 1);
  } else {
    page.entry(share,
               value_text(destination, "host") +
                   (destination.contains("port") && destination["port"] != 0
                        ? ":" + std::to_string(destination["port"].get<uint32_t>())
                        : "") +
                   (subset.empty() ? "" : ", subset " + subset) +
                   (destination.value("share_percent", 0.0) > 0 ? "" : " (never)"),
               1);
    page.entry("cluster", cluster, 2);
  }
  write_fault(destination["fault"], page);
  write_checks(destination["checks"], page);
  if (!forwards || cluster.empty()) return;
  write_limits(destination, page);
  write_ejection(destination, page);
  write_endpoints(destination, page);
}

}  // namespace

void write_destinations(const Json& explanation, Page& page) {
  const Json& destinations = explanation["destinations"];
  if (destinations.empty()) return;
  const bool forwards = value_text(explanation, "outcome") == "forward";
  if (forwards) {
    page.part(
        "GOES TO",
        destinations.size() == 1 ? "one destination"
        : explanation.value("sticky", false)
            ? "one of " + std::to_string(destinations.size()) + ", always the same for this person"
            : "one of " + std::to_string(destinations.size()) + ", drawn for each request");
  }
  for (const Json& destination : destinations) write_destination(destination, forwards, page);
}

}  // namespace np::nodectl
