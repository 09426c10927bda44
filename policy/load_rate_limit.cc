// SPDX-License-Identifier: Apache-2.0
// RateLimit of nodeproxy.dev/v1 (SCHEMA.md).
#include <algorithm>
#include <set>

#include "policy/http_route_reader.h"

namespace np::policy {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr size_t kCountByMax = 8;

std::optional<RateLimit::Target> read_target(const Value& value, const LoadInput& input) {
  Fields fields(value);
  RateLimit::Target target;
  const auto host = read_host(fields.require("host"), input.ns, Wildcard::kLeadingOrAll);
  target.labels = read_labels(fields.get("labels"));
  if (!host) return std::nullopt;
  target.host = *host;
  return target;
}

std::vector<NamedMatch> read_cookies(const Value& map) {
  std::vector<NamedMatch> out;
  MatchRules rules;
  rules.allow_present = true;
  for (const Value& entry : map.entries()) {
    if (!is_header_name(entry.key())) {
      entry.error("not a legal cookie name", shown(entry.key()));
      continue;
    }
    const auto match = read_string_match(entry, rules);
    if (match) out.push_back({entry.key(), *match});
  }
  return out;
}

RateLimit::Match read_limit_match(const Value& value, const LoadInput& input) {
  RateLimit::Match match;
  if (!value.is_map()) {
    value.error("a match with at least one condition is required", value.found());
    return match;
  }
  Fields fields(value);
  if (fields.empty()) value.error("a match with at least one condition is required", "{}");
  read_http_conditions(fields, match.condition);
  match.cookies = read_cookies(fields.get("cookies"));
  const Value service = fields.get("sourceService");
  if (service.present()) {
    match.condition.source_host = read_host(service, input.ns, Wildcard::kRefused).value_or("");
  }
  fields.get("gateways")
      .refuse_if_written("a limit acts on the called service, however its requests come in");
  return match;
}

// The texts go into an expression: they are checked to hold no quote and no backslash.
std::string entry_of(std::string_view map, std::string_view key) {
  return std::string(map) + "[\"" + std::string(key) + "\"]";
}

std::string expression_of_label(const Value& value, std::string_view map) {
  const auto text = value.non_empty_string();
  if (!text) return {};
  const bool legal = std::all_of(text->begin(), text->end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  });
  if (!legal) {
    value.error("not a legal label name", shown(*text), "letters, digits, '-', '_', '.', '/'");
    return {};
  }
  return entry_of(map, *text) + " | \"\"";
}

std::string expression_of_name(const Value& value, std::string_view map, bool fold) {
  const auto text = value.non_empty_string();
  if (!text) return {};
  if (!is_header_name(*text)) {
    value.error("not a legal name", shown(*text));
    return {};
  }
  return entry_of(map, fold ? lower_case(*text) : *text);
}

// What a missing value counts as: the empty text, together with all others that lack it.
std::string expression_of(Fields& fields) {
  const int given = fields.at_most_one(
      {"header", "cookie", "caller", "callerLabel", "destinationLabel", "request"});
  const Value header = fields.get("header");
  const Value cookie = fields.get("cookie");
  const Value caller = fields.get("caller");
  const Value caller_label = fields.get("callerLabel");
  const Value destination_label = fields.get("destinationLabel");
  const Value request = fields.get("request");
  const Value claim = fields.get("jwtClaim");
  claim.refuse_if_written("tokens are not verified yet, and an unverified claim limits nobody");
  if (given == 0 && !claim.written()) {
    fields.self().error("does not say what to count by", "",
                        "header, cookie, caller, callerLabel, destinationLabel, request");
  }
  if (header.present()) return expression_of_name(header, "request.headers", true);
  if (cookie.present()) return expression_of_name(cookie, "request.cookies", false);
  if (caller_label.present()) return expression_of_label(caller_label, "source.labels");
  if (destination_label.present()) {
    return expression_of_label(destination_label, "destination.labels");
  }
  if (caller.present()) {
    static constexpr const char* kCaller[] = {"source.uid | \"\"", "source.service | \"\"",
                                              "source.namespace | \"\"", "source.ip"};
    const auto choice = caller.choice({"pod", "service", "namespace", "ip"});
    return choice ? kCaller[*choice] : "";
  }
  if (request.present()) {
    static constexpr const char* kRequest[] = {"request.url_path", "request.method",
                                               "request.host | \"\""};
    const auto choice = request.choice({"path", "method", "host"});
    return choice ? kRequest[*choice] : "";
  }
  return {};
}

std::vector<Expression> read_count_by(const Value& list) {
  std::vector<Expression> out;
  const std::vector<Value> items = list.items();
  if (items.size() > kCountByMax) {
    list.error("too many values to count by", std::to_string(items.size()),
               "up to " + std::to_string(kCountByMax));
  }
  for (const Value& item : items) {
    Fields fields(item);
    const std::string text = expression_of(fields);
    if (text.empty()) continue;
    ExpressionProblem problem;
    if (auto expression = parse_expression(text, problem)) out.push_back(std::move(*expression));
  }
  return out;
}

std::optional<RateLimit::Limit> read_window(const Value& value) {
  Fields fields(value);
  const auto requests = fields.require("requests").integer(0, INT64_MAX);
  const Value per = fields.require("per");
  const auto length = read_duration(per, ZeroDuration::kRefused);
  if (!requests || !length) return std::nullopt;
  if (*length % kTick != Duration::zero()) {
    per.error("a window is counted in steps of 100ms", per.found(), "for example 1s or 500ms");
    return std::nullopt;
  }
  return RateLimit::Limit{*requests, {QuotaWindow::Kind::kRolling, *length, kTick}};
}

std::optional<RateLimit::Limit> read_bucket(const Value& value) {
  if (!value.present()) return std::nullopt;
  Fields fields(value);
  const Value requests = fields.require("requests");
  const auto rate = requests.integer(1, 1'000'000'000);
  const auto per = read_duration(fields.require("per"), ZeroDuration::kRefused);
  const Value burst = fields.get("burst");
  const auto size = burst.integer(1, 1'000'000'000);
  if (!rate || !per) return std::nullopt;
  // Rounded up: over any time, not more than what was asked for.
  const Duration tick((per->count() + *rate - 1) / *rate);
  int64_t full = 0;
  const int64_t amount = size.value_or(*rate);
  if (__builtin_mul_overflow(amount, tick.count(), &full) ||
      full > Duration(std::chrono::hours(24 * 365)).count()) {
    burst.error("the bucket takes more than a year to fill");
    return std::nullopt;
  }
  return RateLimit::Limit{amount, {QuotaWindow::Kind::kBucket, *per, tick}};
}

RateLimit::Rule read_rule(const Value& value, const LoadInput& input,
                          std::set<std::string>& names) {
  Fields fields(value);
  RateLimit::Rule rule;
  const Value name = fields.require("name");
  rule.name = name.non_empty_string().value_or("");
  if (!rule.name.empty() && !is_dns_label(rule.name)) {
    name.error("not a legal name", shown(rule.name), "lower-case letters, digits and '-'");
  } else if (!rule.name.empty() && !names.insert(rule.name).second) {
    name.error("two rules of this name", rule.name);
  }
  for (const Value& match : fields.get("match").items()) {
    rule.matches.push_back(read_limit_match(match, input));
  }
  rule.count_by = read_count_by(fields.get("countBy"));
  rule.cost = fields.get("cost").integer(1, INT64_MAX).value_or(1);
  std::set<Duration> lengths;
  for (const Value& item : fields.get("windows").items()) {
    const auto window = read_window(item);
    if (!window) continue;
    if (!lengths.insert(window->window.length).second) {
      item.error("two windows of this length");
    }
    rule.limits.push_back(*window);
  }
  const Value bucket = fields.get("bucket");
  if (const auto limit = read_bucket(bucket)) rule.limits.push_back(*limit);
  if (!bucket.present() && fields.get("windows").items().empty()) {
    value.error("limits nothing", "", "windows, bucket");
  }
  for (const RateLimit::Limit& limit : rule.limits) {
    if (limit.amount >= rule.cost || limit.amount == 0) continue;
    fields.get("cost").warning(
        "costs more than a whole limit of this rule: every request that it "
        "matches is refused");
    break;
  }
  return rule;
}

}  // namespace

void load_rate_limit(const LoadInput& input, Model& model) {
  Fields spec(input.spec);
  RateLimit limit;
  limit.origin = input.origin;
  const Value services = spec.require("services");
  for (const Value& item : services.items()) {
    if (auto target = read_target(item, input)) limit.services.push_back(std::move(*target));
  }
  if (services.present() && services.items().empty()) {
    services.error("at least one service is required");
  }
  limit.is_shadow = spec.get("mode").choice({"enforce", "shadow"}).value_or(0) == 1;
  std::set<std::string> names;
  const Value rules = spec.require("rules");
  for (const Value& item : rules.items()) limit.rules.push_back(read_rule(item, input, names));
  if (rules.present() && rules.items().empty()) rules.error("at least one rule is required");
  model.rate_limits.push_back(std::move(limit));
}

}  // namespace np::policy
