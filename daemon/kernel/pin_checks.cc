// SPDX-License-Identifier: Apache-2.0
// What is pinned, against what should be.
#include <bpf/bpf.h>
#include <sys/stat.h>

#include "kernel/node_checks.h"
#include "kernel/pin_versions.h"

namespace np::kernel {

namespace {

using control::Check;
using Level = Check::Level;

constexpr mode_t kPermissionBits = 0777;
constexpr mode_t kOwnerOnly = 0700;

Check pin_check(Level level, std::string subject, std::string found, std::string remedy = {}) {
  Check check;
  check.level = level;
  check.area = "pins";
  check.subject = std::move(subject);
  check.found = std::move(found);
  check.remedy = std::move(remedy);
  return check;
}

// A map or program that lives in the kernel as `id` (0: nobody knows it), and what its pin says.
struct Pinned {
  const char* part;     // "maps"
  const char* command;  // "map", of bpftool
  std::string name;
  uint32_t id = 0;
  uint32_t pinned_id = 0;
};

// Whether all is well.
bool check_pinned(const NodeView& view, const Pinned& object, Checks& checks) {
  if (object.pinned_id != 0 && (object.id == 0 || object.pinned_id == object.id)) return true;
  const std::string path = view.pin_root + "/" + object.part + "/" + object.name;
  const bool is_missing = object.pinned_id == 0;
  Check check =
      pin_check(Level::kFail, std::string(object.part) + "/" + object.name,
                is_missing ? "the pin is gone: a later start would begin without its content"
                           : "another object is pinned there than the one in use");
  if (object.part == std::string("progs")) check.found = "the pin is gone";
  if (object.id == 0) {
    check.remedy = "start nodeproxyd: it pins what it makes";
  } else {
    if (!is_missing) check.commands.push_back("rm " + path);
    check.commands.push_back("bpftool " + std::string(object.command) + " pin id " +
                             std::to_string(object.id) + " " + path);
  }
  checks.push_back(std::move(check));
  return false;
}

size_t check_maps(const NodeView& view, Checks& checks) {
  size_t good = 0;
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    const std::string name = map_name(static_cast<Map>(i));
    const Fd pin(::bpf_obj_get((view.pin_root + "/maps/" + name).c_str()));
    const Pinned object{"maps", "map", name, map_id(view.maps[i]), map_id(pin.get())};
    if (check_pinned(view, object, checks)) ++good;
  }
  return good;
}

size_t check_programs(const NodeView& view, Checks& checks) {
  size_t good = 0;
  for (uint32_t i = 0; i < static_cast<uint32_t>(Program::kCount); ++i) {
    const std::string name = program_name(static_cast<Program>(i));
    const Fd pin(::bpf_obj_get((view.pin_root + "/progs/" + name).c_str()));
    const Pinned object{"progs", "prog", name, view.programs[i], program_id(pin.get())};
    if (check_pinned(view, object, checks)) ++good;
  }
  return good;
}

// `pod`: whose link it is; null: one of the instance.
bool check_link(const NodeView& view, const std::string& name, const PodRecord* pod,
                Checks& checks) {
  const Result<uint32_t> ifindex = pinned_link_ifindex(view.pin_root + "/links/" + name);
  const bool is_dead = ifindex && pod != nullptr && *ifindex != pod->ifindex;
  if (ifindex && !is_dead) return true;
  Check check = pin_check(Level::kFail, "links/" + name,
                          is_dead ? "the link is dead: its interface is gone"
                                  : "the pin is gone: its program is detached");
  check.remedy = "restart nodeproxyd: it attaches the program anew";
  if (pod != nullptr) {
    check.remedy = "register the pod again (nodectl pod add): it is attached anew";
    check.pod_id = pod->request.pod_id;
  }
  checks.push_back(std::move(check));
  return false;
}

size_t check_links(const NodeView& view, Checks& checks) {
  size_t good = 0;
  if (check_link(view, "np_pick", nullptr, checks)) ++good;
  size_t of_capture = 0;
  for (const std::string& name : list_pins(view.pin_root + "/links")) {
    if (name.rfind(kGuardXdpPin, 0) != 0 && name.rfind(kGuardTcPin, 0) != 0) ++of_capture;
  }
  const Hook hook = view.hook.value_or(of_capture > 1 ? Hook::kTcx : Hook::kClsact);
  if (hook != Hook::kTcx) return good;  // filters belong to the interface and have no pin
  if (check_link(view, "np_ret_in", nullptr, checks)) ++good;
  for (const PodRecord& pod : view.pods) {
    if (!pod.is_attached) continue;
    for (const char* prefix : {"pod_in_", "pod_out_"}) {
      if (check_link(view, prefix + std::to_string(pod.ifindex), &pod, checks)) ++good;
    }
  }
  return good;
}

void check_directory(const NodeView& view, Checks& checks) {
  struct stat info {};
  if (::stat(view.names.pin_base.c_str(), &info) != 0) return;
  const mode_t mode = info.st_mode & kPermissionBits;
  if (info.st_uid == 0 && mode == kOwnerOnly) return;
  Check check = pin_check(Level::kWarn, view.names.pin_base, "others than root may enter it");
  check.commands = {"chown root " + view.names.pin_base, "chmod 0700 " + view.names.pin_base};
  checks.push_back(std::move(check));
}

}  // namespace

void check_pins(const NodeView& view, Checks& checks) {
  check_directory(view, checks);
  if (view.versions.size() > 1) {
    checks.push_back(pin_check(Level::kWarn, view.names.pin_base,
                               std::to_string(view.versions.size()) +
                                   " layouts are there: a move from one to the other did not end",
                               "restart nodeproxyd: it goes on with the move"));
  }
  if (view.config.abi != NP_ABI_VERSION && view.map(Map::kConfig) >= 0) {
    checks.push_back(pin_check(Level::kWarn, view.pin_root,
                               "its layout is number " + std::to_string(view.config.abi) +
                                   ", this version makes number " + std::to_string(NP_ABI_VERSION),
                               "start nodeproxyd: it carries the state over"));
    return;
  }
  const size_t before = checks.size();
  const size_t maps = check_maps(view, checks);
  const size_t programs = check_programs(view, checks);
  const size_t links = check_links(view, checks);
  if (checks.size() != before) return;
  checks.push_back(pin_check(Level::kOk, view.pin_root,
                             std::to_string(maps) + " maps, " + std::to_string(programs) +
                                 " programs, " + std::to_string(links) + " links"));
}

}  // namespace np::kernel
