// SPDX-License-Identifier: Apache-2.0
// doctor: what is wrong on this node, and what to do about it. The daemon answers; when it does
// not, nodectl says why, and root has `nodeproxyd --inspect` look at what the kernel still holds.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "client.h"
#include "commands.h"
#include "control/check.h"
#include "control/wire.h"
#include "daemon_program.h"
#include "doctor_text.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;
using control::Check;

constexpr time_t kPatienceSeconds = 5;  // a worker that lives answers within milliseconds

Check make(std::string area, Check::Level level, std::string subject, std::string found) {
  Check check;
  check.area = std::move(area);
  check.level = level;
  check.subject = std::move(subject);
  check.found = std::move(found);
  return check;
}

std::string octal(mode_t mode) {
  constexpr mode_t kPermissions = 07777;
  char text[16];
  std::snprintf(text, sizeof(text), "%04o", static_cast<unsigned>(mode & kPermissions));
  return text;
}

// For who must become root, whose usual run directory is another.
std::string as_root(const Invocation& invocation) {
  return "sudo nodectl --run-dir " + shell_word(invocation.run_dir) + " doctor";
}

// Why there is no answer, and the state of the socket.
std::vector<Check> explain_silence(const Invocation& invocation, const Error& error) {
  const std::string& run_dir = invocation.run_dir;
  const std::string path = run_dir + "/" + control::kControlSocketName;
  Check daemon =
      make("daemon", Check::Level::kFail, "nodeproxyd", error.what + ": " + error.detail);
  struct stat info {};
  const bool is_there = ::stat(path.c_str(), &info) == 0;
  const int stat_failure = errno;
  if (error.code == ErrorCode::kNotFound) {
    daemon.remedy = "start it; another --run-dir is given to nodectl by the same name";
    daemon.commands = {"nodeproxyd --run-dir " + shell_word(run_dir)};
  } else if (error.code == ErrorCode::kDenied) {
    daemon.remedy = "root and the group nodeproxy may talk to it";
    daemon.commands = {as_root(invocation)};
  } else {
    daemon.found = "the worker took the question and has not answered for " +
                   std::to_string(kPatienceSeconds) + " s (" + error.detail + ")";
    daemon.remedy = "see the worker under \"heartbeat\"; root sees it";
  }
  Check socket = make("daemon", Check::Level::kOk, "control socket", path);
  if (is_there) {
    socket.found += ", mode " + octal(info.st_mode) + ", uid " + std::to_string(info.st_uid) +
                    ", gid " + std::to_string(info.st_gid);
  } else {
    socket.found += stat_failure == ENOENT ? " is not there" : " cannot be looked at";
  }
  return {daemon, socket};
}

// The run directory is named after the instance unless somebody said otherwise.
std::string instance_of(const Invocation& invocation) {
  if (!invocation.instance.empty()) return invocation.instance;
  const size_t slash = invocation.run_dir.find_last_of('/');
  return slash == std::string::npos ? invocation.run_dir : invocation.run_dir.substr(slash + 1);
}

std::vector<Check> look_without_daemon(const Invocation& invocation) {
  if (::geteuid() != 0) {
    Check check = make("pins", Check::Level::kWarn, "kernel state",
                       "only root can see pins, hooks and the worker's signs of life");
    check.commands = {as_root(invocation)};
    return {check};
  }
  const std::string instance = instance_of(invocation);
  const std::string text = output_of(daemon_program(), {"--inspect", "--instance", instance});
  std::vector<Check> checks;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (auto check = control::parse_check(std::string_view(text).substr(begin, end - begin))) {
      checks.push_back(std::move(*check));
    }
    begin = end + 1;
  }
  if (!checks.empty()) return checks;
  Check check =
      make("pins", Check::Level::kWarn, "kernel state",
           "cannot look: `nodeproxyd --inspect --instance " + instance + "` says nothing");
  check.remedy = "put nodeproxyd beside nodectl or into PATH; name the instance with --instance";
  return {check};
}

Json to_json(const std::vector<Check>& checks) {
  Json list = Json::array();
  for (const Check& check : checks) {
    list.push_back({{"area", check.area},
                    {"level", control::to_text(check.level)},
                    {"subject", check.subject},
                    {"found", check.found},
                    {"remedy", check.remedy},
                    {"commands", check.commands}});
  }
  return list;
}

Json ask_or_look(const Invocation& invocation) {
  auto answer = ask(invocation.run_dir, {{"verb", "doctor"}}, kPatienceSeconds);
  if (answer && answer->value("ok", false)) return (*answer)["checks"];
  std::vector<Check> checks;
  if (answer) {
    Check refused = make("daemon", Check::Level::kFail, "nodeproxyd",
                         "it refuses the question: " + answer->value("error", "no reason given"));
    refused.remedy = "nodectl and nodeproxyd must be of one version";
    checks.push_back(std::move(refused));
  } else {
    checks = explain_silence(invocation, answer.error());
  }
  for (Check& check : look_without_daemon(invocation)) checks.push_back(std::move(check));
  return to_json(checks);
}

}  // namespace

int run_doctor(const Invocation& invocation) {
  const Json checks = ask_or_look(invocation);
  const DoctorCount count = count_checks(checks);
  if (invocation.output == Output::kJson) {
    print(doctor_json(checks).dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(doctor_json(checks)));
  } else {
    const std::string run_dir = invocation.run_dir == default_run_dir() ? "" : invocation.run_dir;
    print(doctor_text(checks, run_dir, invocation.output == Output::kWide));
  }
  return count.fail == 0 ? kExitDone : kExitFailed;
}

}  // namespace np::nodectl
