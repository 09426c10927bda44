// SPDX-License-Identifier: Apache-2.0
#include "kernel/guard_attach.h"

#include <net/if_arp.h>
#include <unistd.h>

#include <charconv>

#include "base/log.h"
#include "kernel/hook_chain.h"
#include "kernel/pin_versions.h"
#include "kernel/xdp.h"

namespace np::kernel {

namespace {

GuardHook hook_of(XdpMode mode) {
  return mode == XdpMode::kNative ? GuardHook::kNative : GuardHook::kGeneric;
}

GuardHook hook_of(Hook hook) {
  return hook == Hook::kTcx ? GuardHook::kTcx : GuardHook::kClsact;
}

GuardMode mode_of(GuardHook hook) {
  switch (hook) {
    case GuardHook::kNative:
      return GuardMode::kNative;
    case GuardHook::kGeneric:
      return GuardMode::kGeneric;
    case GuardHook::kTcx:
    case GuardHook::kClsact:
      return GuardMode::kTc;
    case GuardHook::kNone:
      break;
  }
  return GuardMode::kAuto;
}

bool is_xdp(GuardHook hook) {
  return hook == GuardHook::kNative || hook == GuardHook::kGeneric;
}

// What can be tried, best first.
std::vector<GuardMode> choices(GuardMode asked) {
  if (asked != GuardMode::kAuto) return {asked};
  return {GuardMode::kNative, GuardMode::kGeneric, GuardMode::kTc};
}

std::string what_of(const std::string& ifname) {
  return "guard " + ifname;
}

uint32_t number_after(const std::string& text, const char* prefix) {
  uint32_t number = 0;
  const size_t begin = std::string(prefix).size();
  std::from_chars(text.data() + begin, text.data() + text.size(), number);
  return number;
}

}  // namespace

std::vector<uint32_t> find_guard_filters(const std::vector<LinkInfo>& links, int stats_map_fd) {
  std::vector<uint32_t> found;
  for (const LinkInfo& link : links) {
    for (const ChainEntry& entry : read_chain(link.ifindex, HookSide::kIngress)) {
      if (entry.kind != ChainEntry::Kind::kFilter || entry.name != kGuardTcProgram) continue;
      if (uses_map(entry.program_id, stats_map_fd)) found.push_back(link.ifindex);
    }
  }
  return found;
}

std::string GuardTable::xdp_pin(uint32_t ifindex) const {
  return loader_.link_pin(kGuardXdpPin + std::to_string(ifindex));
}

HookPoint GuardTable::tc_point(uint32_t ifindex) const {
  return {ifindex, loader_.link_pin(kGuardTcPin + std::to_string(ifindex)), kGuardTcProgram,
          HookSide::kIngress};
}

// ---- attaching ----------------------------------------------------------------------------------

Result<void> GuardTable::try_mode(GuardMode mode, GuardRecord& record) {
  const uint32_t ifindex = record.ifindex;
  if (mode == GuardMode::kTc) {
    NP_TRY(attach_hook(tc_hook_, tc_point(ifindex), loader_.program_fd(Program::kGuardTc)));
    remove_link_pin(xdp_pin(ifindex));  // last: for a moment both judge, never neither
    record.hook = hook_of(tc_hook_);
    return ok();
  }
  const XdpMode xdp = mode == GuardMode::kNative ? XdpMode::kNative : XdpMode::kGeneric;
  NP_TRY(attach_xdp(xdp, ifindex, xdp_pin(ifindex), loader_.program_fd(Program::kGuard)));
  NP_TRY(detach_hook(tc_point(ifindex)));
  record.hook = hook_of(xdp);
  return ok();
}

Result<void> GuardTable::attach_to(const LinkInfo& link, GuardRecord& record) {
  const std::string what = what_of(record.ifname);
  record.ifindex = link.ifindex;
  record.hook = GuardHook::kNone;
  record.note.clear();
  if (link.hardware != ARPHRD_ETHER) {
    return Error{ErrorCode::kUnsupported, what, "it is no Ethernet device",
                 "the guard belongs on an uplink"};
  }
  const std::optional<XdpState> xdp = read_xdp(link.ifindex);
  const bool is_foreign = xdp && !uses_map(xdp->program_id, loader_.map_fd(Map::kGuardStats));
  if (is_foreign && record.asked != GuardMode::kTc) {
    return Error{ErrorCode::kConflict, what,
                 "it has an XDP program, " + to_text(*xdp) + ", which is not displaced",
                 "`nodectl guard attach " + record.ifname +
                     " --mode tc` guards behind it, with the same decisions"};
  }
  Error last{ErrorCode::kUnsupported, what, "nothing could be tried", ""};
  for (const GuardMode mode : choices(record.asked)) {
    const Result<void> tried = try_mode(mode, record);
    if (tried) return ok();
    last = tried.error();
    if (last.code == ErrorCode::kConflict) break;
    record.note += (record.note.empty() ? "" : "; ") + last.to_string();
  }
  if (record.asked != GuardMode::kAuto && record.asked != GuardMode::kTc) {
    last.hint = "without --mode the best that the driver has is taken";
  }
  last.what = what + ": " + last.what;
  return last;
}

Result<GuardRecord> GuardTable::attach(const std::string& ifname, GuardMode mode, bool is_kept) {
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  NP_TRY_ASSIGN(const std::optional<LinkInfo> link, netlink.link(ifname));
  GuardRecord record;
  record.ifname = ifname;
  record.asked = mode;
  Result<void> attached = Error{ErrorCode::kNotFound, what_of(ifname), "no such interface", ""};
  if (link) attached = attach_to(*link, record);
  const auto known = guards_.find(ifname);
  if (!attached && !is_kept) {
    // Another mode was asked for and cannot be had: the one before stays.
    if (link && known != guards_.end()) (void)attach_to(*link, known->second);
    return attached.error();
  }
  if (!attached) {
    record.problem = attached.error().to_string();
  }
  guards_[ifname] = record;
  return record;
}

Result<void> GuardTable::remove_from(uint32_t ifindex) {
  if (ifindex == 0) return ok();
  remove_link_pin(xdp_pin(ifindex));
  return detach_hook(tc_point(ifindex));
}

Result<void> GuardTable::detach(const std::string& ifname) {
  const auto found = guards_.find(ifname);
  if (found == guards_.end()) {
    return Error{ErrorCode::kNotFound, what_of(ifname), "it carries no guard",
                 "`nodectl guard list` shows which do"};
  }
  NP_TRY(remove_from(found->second.ifindex));
  guards_.erase(found);
  return ok();
}

Result<void> GuardTable::detach_all() {
  while (!guards_.empty()) NP_TRY(detach(guards_.begin()->first));
  return ok();
}

// ---- what is there already ----------------------------------------------------------------------

void GuardTable::adopt_links() {
  Result<Netlink> netlink = Netlink::open();
  for (const std::string& name : list_pins(loader_.link_pin(""))) {
    const bool by_xdp = name.rfind(kGuardXdpPin, 0) == 0;
    if (!by_xdp && name.rfind(kGuardTcPin, 0) != 0) continue;
    const std::string pin = loader_.link_pin(name);
    const uint32_t ifindex = number_after(name, by_xdp ? kGuardXdpPin : kGuardTcPin);
    const Program program = by_xdp ? Program::kGuard : Program::kGuardTc;
    Result<std::optional<LinkInfo>> link = std::optional<LinkInfo>();
    if (netlink && is_link_of(pin, ifindex)) link = netlink->link(ifindex);
    if (!link || !*link || !update_pinned_link(pin, loader_.program_fd(program))) {
      ::unlink(pin.c_str());  // its interface is gone
      continue;
    }
    GuardRecord& record = guards_[(*link)->name];
    const std::optional<XdpState> xdp = read_xdp(ifindex);
    record.ifname = (*link)->name;
    record.ifindex = ifindex;
    record.hook =
        by_xdp ? hook_of(xdp && xdp->mode ? *xdp->mode : XdpMode::kNative) : GuardHook::kTcx;
    record.asked = mode_of(record.hook);
  }
}

void GuardTable::adopt_filters(const std::vector<LinkInfo>& links) {
  for (const uint32_t ifindex : find_guard_filters(links, loader_.map_fd(Map::kGuardStats))) {
    for (const LinkInfo& link : links) {
      if (link.ifindex != ifindex || has(link.name)) continue;
      const Result<void> updated =
          update_filter(tc_point(ifindex), loader_.program_fd(Program::kGuardTc));
      guards_[link.name] = {link.name,
                            GuardMode::kTc,
                            GuardHook::kClsact,
                            ifindex,
                            "",
                            updated ? "" : updated.error().to_string()};
    }
  }
}

Result<void> GuardTable::adopt() {
  adopt_links();
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  NP_TRY_ASSIGN(const std::vector<LinkInfo> links, netlink.links());
  adopt_filters(links);
  return ok();
}

// ---- looking after them -------------------------------------------------------------------------

void GuardTable::look_at(GuardRecord& record, Netlink& netlink) {
  const Result<std::optional<LinkInfo>> link = netlink.link(record.ifname);
  if (!link) return;
  if (!*link) {
    if (record.ifindex != 0) (void)remove_from(record.ifindex);
    record.ifindex = 0;
    record.hook = GuardHook::kNone;
    record.problem = "interface " + record.ifname + " is not there";
    return;
  }
  if ((*link)->ifindex != record.ifindex) {  // it came, or came back
    if (record.ifindex != 0) (void)remove_from(record.ifindex);
    const Result<void> attached = attach_to(**link, record);
    record.problem = attached ? "" : attached.error().to_string();
    if (attached) log_info("guard " + record.ifname + ": the interface came, attached");
    return;
  }
  if (record.hook == GuardHook::kNone) return;  // the problem says why
  record.problem.clear();
  if (is_xdp(record.hook)) {
    if (!is_link_of(xdp_pin(record.ifindex), record.ifindex)) {
      record.problem = std::string("somebody removed ") + kGuardXdpProgram;
    }
    return;
  }
  const HookState state = inspect_hook(tc_point(record.ifindex));
  if (!state.is_attached) {
    record.problem = std::string("somebody removed ") + kGuardTcProgram;
  } else if (!state.is_first) {
    record.problem = std::string("another program is ahead of ") + kGuardTcProgram;
  }
}

void GuardTable::sweep() {
  if (guards_.empty()) return;
  Result<Netlink> netlink = Netlink::open();
  if (!netlink) return;
  for (auto& [ifname, record] : guards_) look_at(record, *netlink);
}

std::vector<GuardRecord> GuardTable::list() const {
  std::vector<GuardRecord> records;
  for (const auto& [ifname, record] : guards_) records.push_back(record);
  return records;
}

}  // namespace np::kernel
