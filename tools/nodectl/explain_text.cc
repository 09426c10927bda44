// SPDX-License-Identifier: Apache-2.0
#include "explain_text.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/time.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr size_t kRulesShown = 12;

std::string joined_texts(const Json& list, const char* between) {
  std::string text;
  for (const Json& item : list) text += (text.empty() ? "" : between) + item.get<std::string>();
  return text;
}

std::string labels_of(const Json& labels) {
  std::string text;
  for (const auto& [name, value] : labels.items()) {
    text += (text.empty() ? "" : ",") + name + "=" + value.get<std::string>();
  }
  return text;
}

// ---- who asks whom ---------------------------------------------------------------------------

void write_head(const Json& explanation, Page& page) {
  const Json& from = explanation["from"];
  const Json& to = explanation["to"];
  if (explanation.contains("request")) {
    const Json& request = explanation["request"];
    const std::string query = value_text(request, "query");
    page.part("REQUEST", value_text(request, "method") + " " + value_text(request, "path") +
                             (query.empty() ? "" : "?" + query));
    page.entry("host", value_text(request, "host"));
    for (const Json& header : request["headers"]) {
      page.entry("header", value_text(header, "name") + ": " + value_text(header, "value"));
    }
  } else {
    page.part("CONNECTION", "opaque bytes: method, path and headers play no part");
  }
  if (from.value("known", false)) {
    page.entry("from", "pod " + value_text(from, "pod") + ", " + value_text(from, "address"));
    if (!value_text(from, "service").empty()) page.entry("", "of " + value_text(from, "service"));
    const std::string labels = labels_of(from["labels"]);
    if (!labels.empty()) page.entry("", "with " + labels);
    if (from.value("counts_as_gateway_client", false)) {
      page.entry("", "at a gateway it is a client like any other");
    }
  } else {
    page.entry("from", value_text(from, "asked") + ", not a known pod");
  }
  const std::string address = value_text(to, "address");
  page.entry("to", value_text(to, "host") + ":" + std::to_string(to.value("port", 0)) +
                       (address.empty() ? "" : ", dialled as " + address));
  for (const Json& note : explanation["notes"]) page.entry("note", note.get<std::string>());
}

void write_overload(const Json& explanation, Page& page) {
  if (explanation.contains("overload")) page.part("OVERLOAD", value_text(explanation, "overload"));
}

void write_capture(const Json& explanation, bool wide, Page& page) {
  if (!explanation.contains("capture")) return;
  const Json& capture = explanation["capture"];
  const std::string verdict = value_text(capture, "verdict");
  const std::string counter = value_text(capture, "counter");
  const std::string said = verdict == "captured" ? "yes"
                           : verdict == "direct" ? "no, it goes direct"
                                                 : "no, it is " + verdict;
  page.part("CAPTURED", said + ": " + value_text(capture, "reason") +
                            (counter.empty() ? "" : " (np_stats." + counter + ")"));
  for (const Json& step : capture["steps"]) page.entry("", "- " + step.get<std::string>());
  const uint64_t since = capture.value("since_unix_ns", uint64_t{0});
  if (since != 0 && wide) page.entry("", "- captured since " + time_text(since));
  if (verdict != "captured" && value_text(explanation["to"], "way") != "direct") {
    page.entry("", "What follows holds for connections that are captured.");
  }
}

void write_way(const Json& explanation, Page& page) {
  const Json& to = explanation["to"];
  const std::string way = value_text(to, "way");
  const std::string name = value_text(to, "found_by_host");
  if (way == "direct") {
    page.part("POLICY", "none: no object covers " + value_text(to, "host") + ":" +
                            std::to_string(to.value("port", 0)) + ", nodeproxy does nothing to it");
    return;
  }
  if (way == "gateway") {
    page.part("GATEWAY", value_text(to, "gateway") + " listens at " + value_text(to, "listens"));
  } else {
    page.part("SERVICE", value_text(to, "host") + " port " + std::to_string(to.value("port", 0)) +
                             ", protocol " + value_text(to, "protocol"));
  }
  if (!name.empty()) page.entry("", "rules found by Host: " + name);
}

// ---- rules -----------------------------------------------------------------------------------

void write_rule(const Json& rule, size_t number, Page& page) {
  const bool matched = rule.value("matched", false);
  const std::string name = value_text(rule, "rule");
  page.entry(
      std::to_string(number) + (matched ? " matches" : " no"),
      value_text(rule, "object") + (name.empty() ? "" : ", rule " + name) + place_text(rule));
  page.entry("wants", value_text(rule, "wants"), 2);
  if (!matched) page.entry("but", value_text(rule, "why_not"), 2);
}

void write_rules(const Json& explanation, bool wide, Page& page) {
  const std::string outcome = value_text(explanation, "outcome");
  if (outcome == "direct") return;
  if (outcome == "bad path" || outcome == "method refused") {
    page.part("REFUSED", outcome == "bad path" ? "400: the path cannot be normalised"
                                               : "405: CONNECT is not served");
    return;
  }
  const Json& rules = explanation["rules"];
  const Json& elsewhere = explanation["exported_elsewhere"];
  page.part("RULES", rules.empty() ? "none for this host and port"
                                   : std::to_string(rules.size()) + " tried, in this order");
  if (!elsewhere.empty()) {
    page.entry("", "rules exported only to " + joined_texts(elsewhere, ", ") + " were passed over");
  }
  // The one that matched is last; the first ones are those that people expect to match.
  const size_t hidden = !wide && rules.size() > kRulesShown ? rules.size() - kRulesShown : 0;
  for (size_t i = 0; i < rules.size(); ++i) {
    if (hidden > 0 && i == kRulesShown - 1) {
      page.entry("...", std::to_string(hidden) + " more that do not match (-o wide shows all)");
      i += hidden;
    }
    write_rule(rules[i], i + 1, page);
  }
  if (!explanation.contains("route")) {
    page.part("ROUTE",
              explanation.value("opaque", false) ? "none: the connection is closed" : "none: 404");
    return;
  }
  const Json& route = explanation["route"];
  page.part("ROUTE", route.value("is_default", false)
                         ? value_text(route, "rule") + ": no rule decides"
                         : value_text(route, "object") + ", rule " + value_text(route, "rule") +
                               place_text(route));
}

void write_actions(const Json& explanation, Page& page) {
  const std::string outcome = value_text(explanation, "outcome");
  const std::string status = std::to_string(explanation.value("status", 0));
  if (outcome == "redirect") {
    page.entry("redirect", status + " to " + value_text(explanation, "location"));
  } else if (outcome == "direct response") {
    page.entry("answer", status + ", written in the route");
  } else if (outcome == "preflight") {
    page.entry("answer", status + ", to a CORS preflight");
  }
  if (explanation.contains("rewrite")) {
    page.entry("rewrite", "path " + value_text(explanation["rewrite"], "path") + ", host " +
                              value_text(explanation["rewrite"], "host"));
  }
  for (const char* which : {"request_headers", "response_headers"}) {
    if (!explanation.contains(which) || explanation[which].empty()) continue;
    page.entry(which == std::string("request_headers") ? "to request" : "to answer",
               joined_texts(explanation[which], "; "));
  }
  if (!explanation.contains("mirrors")) return;
  for (const Json& mirror : explanation["mirrors"]) {
    page.entry("mirror", number_text(mirror.value("percent", 0.0)) + " % are copied to " +
                             value_text(mirror, "cluster"));
  }
}

// ---- afterwards ------------------------------------------------------------------------------

void write_times(const Json& explanation, Page& page) {
  if (!explanation.contains("retries")) return;
  const double timeout = explanation.value("timeout_ms", 0.0);
  page.part("TIMEOUT",
            timeout > 0 ? milliseconds_text(timeout) + " for the whole, repeats included" : "none");
  const Json& retries = explanation["retries"];
  const uint32_t attempts = retries.value("attempts", 0U);
  if (attempts == 0) {
    page.part("RETRIES", "none");
    return;
  }
  page.part("RETRIES", "up to " + std::to_string(attempts) + " after the first try, on " +
                           joined_texts(retries["on"], ", "));
  if (!retries["status_codes"].empty()) page.entry("codes", retries["status_codes"].dump());
  const double per_try = retries.value("per_try_timeout_ms", 0.0);
  page.entry("each try", per_try > 0 ? milliseconds_text(per_try) : "no timeout of its own");
  page.entry("back-off", "at random, from " + milliseconds_text(retries["backoff_base_ms"]) +
                             " doubling up to " + milliseconds_text(retries["backoff_max_ms"]));
  if (retries.value("other_endpoint_first", false)) {
    page.entry("where", "an endpoint that was not tried comes first");
  }
  if (retries.value("only_if_nothing_was_sent", false)) {
    page.entry("", "only if no byte reached the endpoint: the method may not be safe to repeat");
  }
}

void write_objects(const Json& explanation, bool wide, Page& page) {
  const Json& objects = explanation["objects"];
  if (objects.empty()) return;
  page.part("OBJECTS", "that name this host or what it leads to");
  for (const Json& object : objects) {
    const bool inactive = object.value("inactive", false);
    const bool is_registry = value_text(object, "role") == "addresses and endpoints";
    if (is_registry && object["remarks"].empty() && !wide) continue;
    page.entry(
        object.value("used", false) ? "decides"
        : inactive                  ? "inactive"
                                    : "",
        value_text(object, "object") + ": " + value_text(object, "role") + place_text(object));
    for (const Json& remark : object["remarks"]) page.entry("!", remark.get<std::string>(), 2);
  }
}

}  // namespace

std::string value_text(const Json& object, const char* key) {
  return object.value(key, std::string());
}

std::string number_text(double number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", number);
  return text;
}

std::string milliseconds_text(double milliseconds) {
  if (milliseconds >= 1000) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.6g s", milliseconds / 1000);
    return text;
  }
  return number_text(milliseconds) + " ms";
}

std::string place_text(const Json& place) {
  std::string file = value_text(place, "file");
  if (file.empty()) return "";
  file.erase(0, file.rfind('/') + 1);  // JSON has the whole path
  return " (" + file + ":" + std::to_string(place.value("line", 0)) + ")";
}

std::string explanation_text(const Json& explanation, bool wide) {
  Page page;
  write_head(explanation, page);
  write_overload(explanation, page);
  write_capture(explanation, wide, page);
  write_way(explanation, page);
  write_rules(explanation, wide, page);
  write_actions(explanation, page);
  write_destinations(explanation, page);
  write_times(explanation, page);
  write_objects(explanation, wide, page);
  return page.text();
}

}  // namespace np::nodectl
