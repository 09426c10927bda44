// SPDX-License-Identifier: Apache-2.0
// What `nodectl doctor` says of the guard: each uplink that should carry it.
#include "kernel/guard_attach.h"
#include "kernel/node_checks.h"
#include "kernel/pin_versions.h"
#include "kernel/xdp.h"

namespace np::kernel {

namespace {

using control::Check;

const char* hook_text(GuardHook hook) {
  constexpr const char* kTexts[] = {"nothing", "native XDP", "generic XDP", "tcx", "clsact"};
  return kTexts[static_cast<size_t>(hook)];
}

}  // namespace

void check_guards(const NodeView& view, Checks& checks) {
  for (const GuardRecord& guard : view.guards) {
    Check check;
    check.area = "guard";
    check.subject = guard.ifname;
    check.found = std::string("guarded by ") + hook_text(guard.hook);
    if (!guard.problem.empty()) {
      check.level = guard.hook == GuardHook::kNone ? Check::Level::kFail : Check::Level::kWarn;
      check.found = guard.problem;
      check.commands = {"nodectl guard attach " + guard.ifname};
    }
    checks.push_back(std::move(check));
  }
}

std::vector<GuardRecord> read_guard_pins(const std::string& pin_root, Netlink& netlink) {
  std::vector<GuardRecord> records;
  for (const std::string& name : list_pins(pin_root + "/links")) {
    const bool by_xdp = name.rfind(kGuardXdpPin, 0) == 0;
    if (!by_xdp && name.rfind(kGuardTcPin, 0) != 0) continue;
    const Result<uint32_t> ifindex = pinned_link_ifindex(pin_root + "/links/" + name);
    const Result<std::optional<LinkInfo>> link = netlink.link(ifindex ? *ifindex : 0);
    GuardRecord record;
    record.ifname = name;
    record.problem = "its interface is gone";
    if (ifindex && *ifindex != 0 && link && *link) {
      const std::optional<XdpState> xdp = read_xdp(*ifindex);
      const bool is_generic = xdp && xdp->mode == XdpMode::kGeneric;
      record.ifname = (*link)->name;
      record.ifindex = *ifindex;
      record.problem.clear();
      record.hook = !by_xdp      ? GuardHook::kTcx
                    : is_generic ? GuardHook::kGeneric
                                 : GuardHook::kNative;
    }
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace np::kernel
