// SPDX-License-Identifier: Apache-2.0
// The command line's grammar, on CLI11: verbs, flags, help. No work is done here.
#include <CLI/CLI.hpp>
#include <map>
#include <tuple>

#include "client.h"
#include "invocation.h"

namespace np::nodectl {
namespace {

const std::map<std::string, Output> kOutputs = {{"table", Output::kTable},
                                                {"wide", Output::kWide},
                                                {"yaml", Output::kYaml},
                                                {"json", Output::kJson}};

void add_global_options(CLI::App& app, Invocation& invocation) {
  app.add_option("--run-dir", invocation.run_dir, "the daemon's run directory")->type_name("DIR");
  app.add_option("-n,--namespace", invocation.ns, "for objects that name none [default]")
      ->type_name("NAME");
  app.add_option("-o,--output", invocation.output, "table, wide, yaml or json")
      ->transform(CLI::CheckedTransformer(kOutputs, CLI::ignore_case).description(""))
      ->type_name("FORMAT");
  app.set_version_flag("--version", "nodectl " NP_VERSION, "print the version");
}

CLI::Option* add_files(CLI::App* verb, Invocation& invocation) {
  CLI::Option* option = verb->add_option("-f,--filename", invocation.files,
                                         "file, directory, or - for standard input; repeatable")
                            ->type_name("FILE")
                            ->allow_extra_args(false);
  verb->add_flag("-R,--recursive", invocation.recursive, "look below directories, too");
  return option;
}

void add_labels(CLI::App* verb, Invocation& invocation) {
  const auto parse = [&invocation](const std::vector<std::string>& values) {
    for (const std::string& label : values) {
      const size_t equals = label.find('=');
      if (equals == std::string::npos || equals == 0) return false;
      invocation.pod_labels[label.substr(0, equals)] = label.substr(equals + 1);
    }
    return true;
  };
  verb->add_option("-l,--labels", parse, "labels, k=v,k=v")
      ->type_name("LABELS")
      ->delimiter(',')
      ->expected(1, CLI::detail::expected_max_vector_size)
      ->allow_extra_args(false);
}

void add_pod(CLI::App& app, Invocation& invocation) {
  CLI::App* pod = app.add_subcommand("pod", "pods of this node: add, remove, list");
  pod->require_subcommand(1)->fallthrough();
  CLI::App* add = pod->add_subcommand("add", "name a pod and capture its traffic");
  add->fallthrough();
  add->add_option("NAME", invocation.pod_name, "the pod's name")->required();
  add->add_option("--ip", invocation.pod_ips, "its addresses, A or A,B")
      ->required()
      ->delimiter(',')
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  add->add_option("--ifname", invocation.pod_ifname, "the host end of its veth")
      ->required()
      ->type_name("VETH");
  add_labels(add, invocation);
  add->callback([&invocation] { invocation.verb = "pod-add"; });
  CLI::App* remove = pod->add_subcommand("remove", "forget a pod and stop capturing it");
  remove->fallthrough();
  remove->add_option("NAME", invocation.pod_name, "the pod's name")->required();
  remove->callback([&invocation] { invocation.verb = "pod-remove"; });
  CLI::App* list = pod->add_subcommand("list", "pods, and since when they are captured");
  list->fallthrough();
  list->callback([&invocation] { invocation.verb = "pod-list"; });
}

CLI::App* add_leaf(CLI::App* parent, Invocation& invocation, const char* name, const char* verb,
                   const char* what) {
  CLI::App* leaf = parent->add_subcommand(name, what);
  leaf->fallthrough();
  leaf->callback([&invocation, verb] { invocation.verb = verb; });
  return leaf;
}

void add_guard(CLI::App& app, Invocation& invocation, const VerbInfo& info) {
  CLI::App* guard = app.add_subcommand(info.name, info.what);
  guard->require_subcommand(1)->fallthrough();
  CLI::App* attach =
      add_leaf(guard, invocation, "attach", "guard-attach", "judge what comes in at an uplink");
  attach->add_option("IFNAME", invocation.guard_ifname, "the uplink's name")->required();
  attach->add_option("--mode", invocation.guard_mode, "native, generic (XDP) or tc [the best]")
      ->check(CLI::IsMember({"native", "generic", "tc"}).description(""))
      ->type_name("MODE");
  CLI::App* detach = add_leaf(guard, invocation, "detach", "guard-detach", "let everything in");
  detach->add_option("IFNAME", invocation.guard_ifname, "the uplink's name")->required();
  add_leaf(guard, invocation, "list", "guard-list", "guarded interfaces");
  add_leaf(guard, invocation, "status", "guard-status", "interfaces, rules and counters");
  CLI::App* deny = guard->add_subcommand("deny", "sources that lose all their packets");
  deny->require_subcommand(1)->fallthrough();
  for (const auto& [name, verb, what] :
       {std::tuple{"add", "guard-deny-add", "deny these"},
        std::tuple{"del", "guard-deny-del", "deny these no longer"}}) {
    CLI::App* change = add_leaf(deny, invocation, name, verb, what);
    change->add_option("CIDR", invocation.guard_sources, "10.1.0.0/16, fd00::/64, an address")
        ->required();
  }
  add_leaf(deny, invocation, "list", "guard-deny-list", "the deny list");
  CLI::App* limit = add_leaf(guard, invocation, "limit", "guard-limit",
                             "new connections per second; without arguments: the limits");
  limit->add_option("DESTINATION", invocation.guard_destination,
                    "ADDRESS:PORT; *:PORT is every address of this node");
  limit->add_option("RATE", invocation.guard_rate, "RATE[/BURST] per second, 0 for no limit, none");
  limit->add_flag("--keep", invocation.guard_keeps,
                  "let new ones in while the daemon is overloaded");
}

void add_acceleration(CLI::App* acceleration, Invocation& invocation) {
  acceleration->require_subcommand(0, 1);
  CLI::App* test =
      acceleration->add_subcommand("test", "test this kernel now; exit code 1 when it is refused");
  test->fallthrough();
  // The verb's own callback follows that of its subcommand.
  acceleration->callback([acceleration, test, &invocation] {
    invocation.verb = acceleration->got_subcommand(test) ? "acceleration-test" : "acceleration";
  });
}

void add_explain(CLI::App& app, Invocation& invocation, const VerbInfo& info) {
  CLI::App* verb = app.add_subcommand(info.name, info.what);
  verb->fallthrough();
  verb->add_option("--from", invocation.from, "the calling pod; also an app, or labels k=v,k=v")
      ->required()
      ->type_name("POD");
  verb->add_option("--to", invocation.to, "service name, host or address, and port")
      ->required()
      ->type_name("HOST:PORT");
  verb->add_option("--method", invocation.method, "[GET]")->type_name("METHOD");
  verb->add_option("--path", invocation.path, "path, with or without query [/]")->type_name("PATH");
  verb->add_option("-H,--header", invocation.headers, "'name: value'; repeatable")
      ->type_name("HEADER")
      ->allow_extra_args(false);
  add_files(verb, invocation)->description("these files instead of the daemon's policy");
  verb->callback([&invocation] { invocation.verb = "explain"; });
}

// "KIND/NAME" is as good as "KIND NAME".
bool split_kind(Invocation& invocation) {
  const size_t slash = invocation.kind.find('/');
  if (slash == std::string::npos) return true;
  if (!invocation.names.empty()) return false;
  invocation.names.push_back(invocation.kind.substr(slash + 1));
  invocation.kind.resize(slash);
  return !invocation.kind.empty() && !invocation.names.front().empty();
}

void add_kind(CLI::App* verb, Invocation& invocation, bool required) {
  CLI::Option* kind = verb->add_option("KIND", invocation.kind, "kind, plural or short name");
  if (required) kind->required();
  verb->add_option("NAME", invocation.names, "names");
}

const std::map<std::string, uint64_t>& microseconds() {
  static const std::map<std::string, uint64_t> units = {
      {"us", 1}, {"ms", 1000}, {"s", 1'000'000}, {"m", 60'000'000}};
  return units;
}

void add_limit(CLI::App* verb, Invocation& invocation) {
  constexpr uint32_t kLimitMax = 1000;
  verb->add_option("--limit", invocation.limit, "how many at most [20]")
      ->type_name("N")
      ->each([&invocation](const std::string&) { invocation.has_limit = true; })
      ->check(CLI::Range(1U, kLimitMax));
}

void add_top(CLI::App* verb, Invocation& invocation) {
  constexpr uint64_t kIntervalMinUs = 200'000;
  constexpr uint64_t kIntervalMaxUs = 60'000'000;
  verb->add_option("WHAT", invocation.kind, "pods, services, routes or connections")
      ->required()
      ->check(CLI::IsMember({"pods", "services", "routes", "connections"}));
  verb->add_option("--interval", invocation.interval_us, "between two looks [2s]")
      ->transform(
          CLI::AsNumberWithUnit(microseconds(), CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->check(CLI::Range(kIntervalMinUs, kIntervalMaxUs))
      ->type_name("DURATION");
  verb->add_option("--count", invocation.count, "how many looks; then it ends")->type_name("N");
  verb->add_option("--sort", invocation.sort, "a column's name in lower case")->type_name("COLUMN");
  verb->add_flag("-b,--batch", invocation.is_batch, "plain text, also on a terminal");
  verb->add_flag("-A,--all-namespaces", invocation.all_namespaces, "of every namespace");
  add_limit(verb, invocation);
}

void add_flows(CLI::App* flows, Invocation& invocation) {
  constexpr uint64_t kWindowMinUs = 1'000'000;
  constexpr uint64_t kWindowMaxUs = 3'600'000'000;
  flows->require_subcommand(0, 1);
  CLI::App* reset = flows->add_subcommand(
      "reset",
      "cut connections that began before their policy, so that their next one is captured");
  reset->fallthrough();
  reset
      ->add_option("--for", invocation.window_us,
                   "how long: who sends nothing meanwhile is left alone [30s]")
      ->transform(
          CLI::AsNumberWithUnit(microseconds(), CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->check(CLI::Range(kWindowMinUs, kWindowMaxUs))
      ->type_name("DURATION");
  // The verb's own callback follows that of its subcommand.
  flows->callback([flows, reset, &invocation] {
    invocation.verb = flows->got_subcommand(reset) ? "flows-reset" : "flows";
  });
}

void add_trace_filters(CLI::App* verb, Invocation& invocation) {
  verb->add_option("--service", invocation.service, "in which it takes part: reviews")
      ->type_name("SERVICE");
  verb->add_option("--min-duration", invocation.min_duration_us,
                   "that took as long, e.g. 500ms, 5s")
      ->transform(
          CLI::AsNumberWithUnit(microseconds(), CLI::AsNumberWithUnit::UNIT_REQUIRED, "DURATION"))
      ->type_name("DURATION");
  verb->add_flag("--errors", invocation.errors_only, "in which something failed");
  add_limit(verb, invocation);
}

CLI::App* add_verb(CLI::App& app, Invocation& invocation, const VerbInfo& info) {
  CLI::App* verb = app.add_subcommand(info.name, info.what);
  verb->fallthrough();
  const std::string name = info.name;
  verb->callback([&invocation, name] { invocation.verb = name; });
  CLI::Option* files = info.takes_files ? add_files(verb, invocation) : nullptr;
  if (files != nullptr && !info.takes_kind) files->required();
  if (info.takes_kind) add_kind(verb, invocation, files == nullptr);
  return verb;
}

void add_verbs(CLI::App& app, Invocation& invocation) {
  for (const VerbInfo& info : verb_infos()) {
    const std::string name = info.name;
    if (name == "pod") {
      add_pod(app, invocation);
      continue;
    }
    if (name == "guard") {
      add_guard(app, invocation, info);
      continue;
    }
    if (name == "explain") {
      add_explain(app, invocation, info);
      continue;
    }
    CLI::App* verb = add_verb(app, invocation, info);
    if (name == "get") {
      verb->add_flag("-A,--all-namespaces", invocation.all_namespaces, "of every namespace");
    } else if (name == "delete") {
      verb->add_flag("--ignore-not-found", invocation.ignore_not_found,
                     "what is not there counts as deleted");
    } else if (name == "doctor") {
      verb->add_option("--instance", invocation.instance,
                       "whose kernel state to look at when no daemon answers")
          ->type_name("NAME");
    } else if (name == "endpoints") {
      verb->add_option("SERVICE", invocation.service, "a service's name or host");
    } else if (name == "uneject") {
      verb->add_option("SERVICE", invocation.service, "a service's name or host")->required();
      verb->add_option("ADDR", invocation.address, "ADDRESS:PORT, or ADDRESS for every port")
          ->required();
    } else if (name == "top") {
      add_top(verb, invocation);
    } else if (name == "acceleration") {
      add_acceleration(verb, invocation);
    } else if (name == "flows") {
      add_flows(verb, invocation);
    } else if (name == "traces") {
      add_trace_filters(verb, invocation);
    } else if (name == "trace") {
      verb->add_option("ID", invocation.trace_id, "16 or 32 digits, as `nodectl traces` shows")
          ->required();
    } else if (name == "detach") {
      verb->add_flag("--all", invocation.all, "every pod of this node")->required();
    } else if (name == "completion") {
      verb->add_option("SHELL", invocation.shell, "bash or zsh")
          ->required()
          ->check(CLI::IsMember({"bash", "zsh"}));
    }
  }
}

// What CLI11 cannot say: arguments that exclude each other. Empty when all is well.
std::string usage_problem(Invocation& invocation) {
  if (!split_kind(invocation)) return "give KIND/NAME or KIND NAME, not both";
  if (invocation.verb == "delete") {
    if (invocation.files.empty() == invocation.kind.empty()) {
      return "delete needs -f FILE, or KIND NAME";
    }
    if (!invocation.kind.empty() && invocation.names.empty()) {
      return "delete needs the name of the " + invocation.kind;
    }
  }
  if (invocation.verb == "guard-limit" &&
      invocation.guard_destination.empty() != invocation.guard_rate.empty()) {
    return "guard limit needs DESTINATION and RATE, or neither";
  }
  if (invocation.verb == "describe" && invocation.names.empty()) {
    return "describe needs the name of the " + invocation.kind;
  }
  if (invocation.all_namespaces && !invocation.names.empty()) {
    return "a name cannot be combined with -A";
  }
  return "";
}

}  // namespace

const std::vector<VerbInfo>& verb_infos() {
  static const std::vector<VerbInfo> infos = {
      {"apply", "create or change objects, all or none", false, true},
      {"create", "create objects that do not exist", false, true},
      {"replace", "change objects that exist", false, true},
      {"delete", "delete objects, by file or by name", true, true},
      {"get", "list objects", true, false},
      {"describe", "everything about an object", true, false},
      {"diff", "what apply would change", false, true},
      {"validate", "check files without a daemon", false, true},
      {"pod", "pods of this node: add, remove, list", false, false},
      {"endpoints", "addresses behind services, and who is ejected", false, false},
      {"explain", "what becomes of a request, and why", false, true},
      {"uneject", "bring an ejected endpoint back now", false, false},
      {"guard", "judge new connections at this node's uplinks", false, false},
      {"acceleration", "whether this kernel could redirect from socket to socket; test: look anew",
       false, false},
      {"status", "the daemon's state and counters", false, false},
      {"doctor", "what is wrong on this node, and what to do", false, false},
      {"top", "live rates: pods, services, routes, connections", false, false},
      {"flows", "captured connections; reset: cut those that are older than their policy", false,
       false},
      {"traces", "the latest traces of this node", false, false},
      {"trace", "one trace, with its spans drawn in time", false, false},
      {"drain", "stop the daemon when its connections have ended", false, false},
      {"detach", "stop capturing: traffic goes direct", false, false},
      {"completion", "print a completion script for bash or zsh", false, false},
  };
  return infos;
}

ParseOutcome parse_command_line(int argc, const char* const* argv) {
  ParseOutcome outcome;
  CLI::App app("nodectl: policy and state of this node's nodeproxy", "nodectl");
  app.require_subcommand(1);
  app.get_formatter()->column_width(26);
  add_global_options(app, outcome.invocation);
  add_verbs(app, outcome.invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& stopped) {
    const std::vector<std::string> unknown = app.remaining();
    if (app.get_subcommands().empty() && !unknown.empty()) {
      std::cerr << "error: unknown command \"" << unknown.front() << "\" for \"nodectl\"\n"
                << "Run 'nodectl --help' for usage.\n";
      outcome.exit_code = kExitUsage;
      return outcome;
    }
    outcome.exit_code = app.exit(stopped) == 0 ? kExitDone : kExitUsage;
    return outcome;
  }
  const std::string problem = usage_problem(outcome.invocation);
  if (!problem.empty()) {
    std::cerr << "error: " << problem << "\nRun with --help for more information.\n";
    outcome.exit_code = kExitUsage;
    return outcome;
  }
  outcome.invocation.has_namespace = app.count("--namespace") > 0;
  if (outcome.invocation.run_dir.empty()) outcome.invocation.run_dir = default_run_dir();
  outcome.has_command = true;
  return outcome;
}

}  // namespace np::nodectl
