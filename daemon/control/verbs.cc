// SPDX-License-Identifier: Apache-2.0
#include "control/verbs.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "control/acceleration_view.h"
#include "control/arguments.h"
#include "control/doctor_view.h"
#include "control/endpoint_view.h"
#include "control/explain_view.h"
#include "control/guard_verbs.h"
#include "control/overload_view.h"
#include "control/resource_name.h"
#include "control/views.h"

namespace np::control {
namespace {

struct Context {
  Controller& controller;
  const Seams& seams;
  const DaemonInfo& info;
  const Peer& peer;
};

constexpr const char* kDefaultNamespace = "default";
constexpr uint64_t kTracesMax = 1000;  // in one answer

// ---- objects in ---------------------------------------------------------------------------------

// The objects of the request's files; nothing when one of them is wrong.
std::optional<std::vector<policy::Object>> parse_files(Arguments& arguments,
                                                       policy::Diagnostics& diagnostics) {
  std::vector<policy::Object> objects;
  const std::string ns = arguments.text("namespace", kDefaultNamespace);
  for (const GivenFile& file : arguments.files()) {
    std::vector<policy::Object> some =
        policy::parse_objects(file.text, {file.name, ns}, diagnostics);
    std::move(some.begin(), some.end(), std::back_inserter(objects));
  }
  if (policy::has_errors(diagnostics) || !arguments.problem().empty()) return std::nullopt;
  return objects;
}

Json refused_diagnostics(const policy::Diagnostics& diagnostics) {
  size_t errors = 0;
  Json list = Json::array();
  for (const policy::Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.level != policy::Diagnostic::Level::kError) continue;
    ++errors;
    list.push_back(to_json(diagnostic));
  }
  Json answer = refusal("nothing was changed: " + std::to_string(errors) +
                        (errors == 1 ? " error" : " errors"));
  answer["diagnostics"] = std::move(list);
  return answer;
}

Json to_json(const ChangeAnswer& answer, const Controller& controller) {
  if (!answer.errors.empty()) {
    Json json = refusal(answer.errors.front());
    json["errors"] = answer.errors;
    return json;
  }
  if (answer.is_refused()) return refused_diagnostics(answer.diagnostics);
  Json results = Json::array();
  for (const Change& change : answer.changes) {
    Json result = {{"resource", resource_name(change.id)},
                   {"namespace", change.id.ns},
                   {"outcome", to_text(change.outcome)}};
    const ObjectStatus& status = controller.statuses().of(change.id);
    if (change.outcome != Outcome::kDeleted &&
        status.state == ObjectStatus::State::kNotYetInEffect) {
      result["note"] = "accepted, not yet in effect: " + status.reason;
    }
    results.push_back(std::move(result));
  }
  return {{"ok", true},
          {"results", std::move(results)},
          {"warnings", answer.warnings},
          {"generation", controller.snapshot().generation}};
}

Json change_files(Context& context, Arguments& arguments, Verb verb) {
  policy::Diagnostics diagnostics;
  PlanOptions options;
  options.now_unix_ns = wall_clock_ns();
  options.ignore_not_found = arguments.flag("ignore_not_found");
  auto objects = parse_files(arguments, diagnostics);
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  if (!objects) return refused_diagnostics(diagnostics);
  if (objects->empty()) return refusal("no objects passed to " + arguments.text("verb"));
  const ChangeAnswer answer =
      context.controller.change(verb, std::move(*objects), options, context.peer);
  Json json = to_json(answer, context.controller);
  for (const policy::Diagnostic& diagnostic : diagnostics) {
    if (!answer.is_refused()) json["warnings"].push_back(diagnostic.to_string());
  }
  return json;
}

Json do_apply(Context& context, Arguments& arguments) {
  return change_files(context, arguments, Verb::kApply);
}
Json do_create(Context& context, Arguments& arguments) {
  return change_files(context, arguments, Verb::kCreate);
}
Json do_replace(Context& context, Arguments& arguments) {
  return change_files(context, arguments, Verb::kReplace);
}

Json do_delete(Context& context, Arguments& arguments) {
  if (!arguments.has("kind")) return change_files(context, arguments, Verb::kDelete);
  const std::string kind_text = arguments.text("kind");
  const std::string ns = arguments.text("namespace", kDefaultNamespace);
  const std::vector<std::string> names = arguments.texts("names");
  PlanOptions options;
  options.ignore_not_found = arguments.flag("ignore_not_found");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  const policy::KindInfo* kind = policy::find_kind(kind_text);
  if (kind == nullptr) return refusal(unknown_kind(kind_text));
  if (names.empty()) return refusal("delete needs the name of a " + std::string(kind->kind));
  std::vector<policy::Object> objects;
  for (const std::string& name : names) {
    policy::Object object;
    object.id = {std::string(kind->group), std::string(kind->kind), kind->namespaced ? ns : "",
                 name};
    objects.push_back(std::move(object));
  }
  return to_json(
      context.controller.change(Verb::kDelete, std::move(objects), options, context.peer),
      context.controller);
}

Json do_diff(Context& context, Arguments& arguments) {
  policy::Diagnostics diagnostics;
  auto objects = parse_files(arguments, diagnostics);
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  if (!objects) return refused_diagnostics(diagnostics);
  Json list = Json::array();
  for (const policy::Object& object : *objects) {
    const policy::Object* stored = context.controller.store().find(object.id);
    list.push_back({{"resource", resource_name(object.id)},
                    {"namespace", object.id.ns},
                    {"stored", stored == nullptr ? "" : stored->text},
                    {"given", object.text}});
  }
  return {{"ok", true}, {"objects", std::move(list)}};
}

// ---- pods ---------------------------------------------------------------------------------------

Json do_pod_add(Context& context, Arguments& arguments) {
  PodRegistration pod;
  pod.ns = arguments.text("namespace", kDefaultNamespace);
  pod.name = arguments.text("name");
  pod.ifname = arguments.text("ifname");
  pod.labels = arguments.labels("labels");
  for (const std::string& text : arguments.texts("ips")) {
    const auto ip = IpAddress::parse(text);
    if (!ip) return refusal("--ip: found \"" + text + "\"; allowed: an IPv4 or IPv6 address");
    pod.ips.push_back(*ip);
  }
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  return to_json(context.controller.add_pod(pod, context.peer), context.controller);
}

Json do_pod_remove(Context& context, Arguments& arguments) {
  const std::string ns = arguments.text("namespace", kDefaultNamespace);
  const std::string name = arguments.text("name");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  return to_json(context.controller.remove_pod(ns, name, context.peer), context.controller);
}

Json do_pod_list(Context& context, Arguments&) {
  return view_pods(context.controller, context.seams.counters);
}

// ---- looking ------------------------------------------------------------------------------------

Json do_get(Context& context, Arguments& arguments) {
  ObjectQuery query;
  query.kind = arguments.text("kind");
  query.names = arguments.texts("names");
  query.ns = arguments.text("namespace", kDefaultNamespace);
  query.all_namespaces = arguments.flag("all_namespaces");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  return view_objects(context.controller, query, context.seams.acceleration);
}

Json do_endpoints(Context& context, Arguments& arguments) {
  const std::string service = arguments.text("service");
  const std::string ns = arguments.text("namespace", kDefaultNamespace);
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  return view_endpoints(context.controller, context.seams.watch, service, ns);
}

Json do_uneject(Context& context, Arguments& arguments) {
  const std::string service = arguments.text("service");
  const std::string address = arguments.text("address");
  const std::string ns = arguments.text("namespace", kDefaultNamespace);
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  log_info("uneject " + address + " of " + service + " asked by uid " +
           std::to_string(context.peer.uid));
  return uneject_endpoint(context.controller, context.seams.watch, service, ns, address);
}

Json do_explain(Context& context, Arguments& arguments) {
  policy::QuestionText text;
  text.from = arguments.text("from");
  text.to = arguments.text("to");
  text.ns = arguments.text("namespace", kDefaultNamespace);
  text.method = arguments.text("method", text.method);
  text.path = arguments.text("path", text.path);
  text.headers = arguments.texts("headers");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  return view_explanation(context.controller, context.seams, text);
}

Json do_status(Context& context, Arguments&) {
  Json counters = Json::object();
  Json probe = Json::array();
  if (context.seams.counters != nullptr) {
    for (const NamedCounter& counter : context.seams.counters->counters()) {
      counters[counter.name] = counter.value;
    }
    probe = context.seams.counters->probe_report();
  }
  const auto uptime = monotonic_now() - context.info.started;
  return {{"ok", true},
          {"version", context.info.version},
          {"instance", context.info.instance},
          {"pid", ::getpid()},
          {"uptime_seconds", std::chrono::duration_cast<std::chrono::seconds>(uptime).count()},
          {"generation", context.controller.snapshot().generation},
          {"objects", context.controller.store().objects().size()},
          {"pods", context.controller.pods().all().size()},
          {"shards", context.info.shards},
          {"capture", context.seams.attacher != nullptr},
          {"acceleration", acceleration_text(context.controller, context.seams.acceleration)},
          {"listener_problem", context.controller.listener_problem()},
          {"unexpected", g_unexpected_count.load(std::memory_order_relaxed)},
          {"overload", view_overload(context.seams)},
          {"counters", std::move(counters)},
          {"probe", std::move(probe)}};
}

Json do_doctor(Context& context, Arguments&) {
  return view_doctor(context.controller, context.seams, context.info);
}

// ---- the guard of the uplinks,
// acceleration-------------------------------------------------------

Json do_guard_attach(Context& context, Arguments& arguments) {
  return guard_attach(context.controller.guard(), arguments, context.peer);
}
Json do_guard_detach(Context& context, Arguments& arguments) {
  return guard_detach(context.controller.guard(), arguments, context.peer);
}
Json do_guard_deny(Context& context, Arguments& arguments) {
  return guard_deny(context.controller.guard(), arguments, context.peer);
}
Json do_guard_limit(Context& context, Arguments& arguments) {
  return guard_limit(context.controller.guard(), arguments, context.peer);
}
Json do_guard_status(Context& context, Arguments&) {
  return view_guard(context.controller.guard());
}

Json do_acceleration(Context& context, Arguments&) {
  return view_acceleration(context.controller, context.seams.acceleration);
}
Json do_acceleration_test(Context& context, Arguments&) {
  return test_acceleration(context.seams.acceleration, context.peer);
}

// ---- the daemon itself --------------------------------------------------------------------------

Json do_drain(Context& context, Arguments&) {
  if (context.seams.lifecycle == nullptr) {
    return refusal("this daemon does not drain by command: send it SIGTERM");
  }
  log_info("drain asked by uid " + std::to_string(context.peer.uid));
  auto result = context.seams.lifecycle->drain();
  if (!result) return refusal(result.error().to_string());
  return {{"ok", true}};
}

Json do_detach(Context& context, Arguments&) {
  auto result = context.controller.detach_all(context.peer);
  if (!result) return refusal(result.error().to_string());
  return {{"ok", true}};
}

Json do_flows_reset(Context& context, Arguments& arguments) {
  constexpr uint64_t kWindowMinMs = 1000;
  constexpr uint64_t kWindowMaxMs = 3'600'000;
  const uint64_t window_ms = arguments.number("window_ms", 0);
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  if (window_ms < kWindowMinMs || window_ms > kWindowMaxMs) {
    return refusal("window_ms: found " + std::to_string(window_ms) + "; allowed: " +
                   std::to_string(kWindowMinMs) + " to " + std::to_string(kWindowMaxMs));
  }
  if (context.seams.resetter == nullptr) {
    return refusal("nothing is captured here (--no-capture): there is nothing to reset");
  }
  log_info("flows reset for " + std::to_string(window_ms) + " ms asked by uid " +
           std::to_string(context.peer.uid));
  context.seams.resetter->reset_uncaptured_flows(std::chrono::milliseconds(window_ms));
  return {{"ok", true}, {"window_ms", window_ms}};
}

// ---- what is told about requests --------------------------------------------------------------

// Is JSON text already, and may be long: it goes into the answer as it is.
std::string with_report(const std::string& report) {
  return "{\"ok\":true,\"report\":" + report + "}";
}

std::string do_overview(Context& context, Arguments&) {
  return with_report(context.seams.reporter->overview());
}

std::string do_traces(Context& context, Arguments& arguments) {
  TraceFilter filter;
  filter.service = arguments.text("service", "");
  filter.errors_only = arguments.flag("errors");
  filter.min_duration_us = arguments.number("min_duration_us", 0);
  filter.limit = static_cast<uint32_t>(
      std::min<uint64_t>(arguments.number("limit", filter.limit), kTracesMax));
  if (!arguments.problem().empty()) return dump(refusal(arguments.problem()));
  return with_report(context.seams.reporter->traces(filter));
}

std::string do_trace(Context& context, Arguments& arguments) {
  const std::string id = arguments.text("id");
  if (!arguments.problem().empty()) return dump(refusal(arguments.problem()));
  const std::string report = context.seams.reporter->trace(id);
  if (report.empty()) return dump(refusal("no trace \"" + id + "\" is kept (any more)"));
  return with_report(report);
}

std::string do_connections(Context& context, Arguments&) {
  return with_report(context.seams.reporter->connections());
}

struct ReportEntry {
  std::string_view name;
  std::string (*run)(Context&, Arguments&);
};
constexpr std::array kReports = {ReportEntry{"overview", do_overview},
                                 ReportEntry{"connections", do_connections},
                                 ReportEntry{"traces", do_traces}, ReportEntry{"trace", do_trace}};

struct VerbEntry {
  std::string_view name;
  bool writes;
  Json (*run)(Context&, Arguments&);
};
constexpr std::array kVerbs = {
    VerbEntry{"apply", true, do_apply},
    VerbEntry{"create", true, do_create},
    VerbEntry{"replace", true, do_replace},
    VerbEntry{"delete", true, do_delete},
    VerbEntry{"diff", false, do_diff},
    VerbEntry{"get", false, do_get},
    VerbEntry{"pod-add", true, do_pod_add},
    VerbEntry{"pod-remove", true, do_pod_remove},
    VerbEntry{"pod-list", false, do_pod_list},
    VerbEntry{"endpoints", false, do_endpoints},
    VerbEntry{"uneject", true, do_uneject},
    VerbEntry{"status", false, do_status},
    VerbEntry{"explain", false, do_explain},
    VerbEntry{"doctor", false, do_doctor},
    VerbEntry{"drain", true, do_drain},
    VerbEntry{"detach", true, do_detach},
    VerbEntry{"flows-reset", true, do_flows_reset},
    VerbEntry{"acceleration", false, do_acceleration},
    VerbEntry{"acceleration-test", true, do_acceleration_test},
    VerbEntry{"guard-attach", true, do_guard_attach},
    VerbEntry{"guard-detach", true, do_guard_detach},
    VerbEntry{"guard-deny", true, do_guard_deny},
    VerbEntry{"guard-limit", true, do_guard_limit},
    VerbEntry{"guard-status", false, do_guard_status},
};

}  // namespace

std::string Verbs::handle(std::string_view request, const Peer& peer) {
  const Json json = Json::parse(request, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return dump(refusal("the request is not a JSON object"));
  }
  Arguments arguments(json);
  const std::string name = arguments.text("verb");
  Context context{controller_, seams_, info_, peer};
  for (const ReportEntry& entry : kReports) {
    if (entry.name == name && seams_.reporter != nullptr) return entry.run(context, arguments);
  }
  const auto verb = std::find_if(kVerbs.begin(), kVerbs.end(),
                                 [&](const VerbEntry& entry) { return entry.name == name; });
  if (verb == kVerbs.end()) return dump(refusal("unknown verb \"" + name + "\""));
  if (verb->writes && !peer.may_write) {
    log_warn("refused " + name + " by uid " + std::to_string(peer.uid));
    return dump(refusal("uid " + std::to_string(peer.uid) +
                        " may not change policy: root and group nodeproxy may"));
  }
  return dump(verb->run(context, arguments));
}

}  // namespace np::control
