// SPDX-License-Identifier: Apache-2.0
// The command line's grammar, on CLI11: verbs, flags, help. No work is done here.
#include <CLI/CLI.hpp>
#include <map>

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
    CLI::App* verb = add_verb(app, invocation, info);
    if (name == "get") {
      verb->add_flag("-A,--all-namespaces", invocation.all_namespaces, "of every namespace");
    } else if (name == "delete") {
      verb->add_flag("--ignore-not-found", invocation.ignore_not_found,
                     "what is not there counts as deleted");
    } else if (name == "endpoints") {
      verb->add_option("SERVICE", invocation.service, "a service's name or host");
    } else if (name == "uneject") {
      verb->add_option("SERVICE", invocation.service, "a service's name or host")->required();
      verb->add_option("ADDR", invocation.address, "ADDRESS:PORT, or ADDRESS for every port")
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
      {"uneject", "bring an ejected endpoint back now", false, false},
      {"status", "the daemon's state and counters", false, false},
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
  if (outcome.invocation.run_dir.empty()) outcome.invocation.run_dir = default_run_dir();
  outcome.has_command = true;
  return outcome;
}

}  // namespace np::nodectl
