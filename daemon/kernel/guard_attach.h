// SPDX-License-Identifier: Apache-2.0
// GuardTable: which uplinks carry the admission guard, and how: np_guard by XDP (native or
// generic), or np_guard_tc by tcx or clsact. All are kernel state that outlives this process, so a
// new supervisor begins with adopt(). Never displaces an XDP program of somebody else. Supervisor
// only, single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/hook.h"
#include "kernel/loader.h"
#include "kernel/netlink.h"

namespace np::kernel {

// What is asked for. kAuto: native where the driver has it, else generic, else tc.
enum class GuardMode : uint8_t { kAuto, kNative, kGeneric, kTc };
// Where it is.
enum class GuardHook : uint8_t { kNone, kNative, kGeneric, kTcx, kClsact };

inline constexpr const char* kGuardXdpPin = "guard_xdp_";  // and the ifindex
inline constexpr const char* kGuardTcPin = "guard_tc_";
inline constexpr const char* kGuardXdpProgram = "np_guard";
inline constexpr const char* kGuardTcProgram = "np_guard_tc";

struct GuardRecord {
  std::string ifname;
  GuardMode asked = GuardMode::kAuto;
  GuardHook hook = GuardHook::kNone;
  uint32_t ifindex = 0;
  std::string note;     // why it is not the first choice
  std::string problem;  // why it is not attached, or what endangers it
};

class GuardTable {
 public:
  GuardTable(Loader& loader, Hook tc_hook) : loader_(loader), tc_hook_(tc_hook) {}

  // Takes over what earlier processes attached; the programs are replaced in place.
  Result<void> adopt();
  // `is_kept`: an interface that is not there yet, or will not have it now, is remembered with its
  // problem and tried again when it comes anew; otherwise that is an Error and changes nothing.
  Result<GuardRecord> attach(const std::string& ifname, GuardMode mode, bool is_kept);
  Result<void> detach(const std::string& ifname);
  Result<void> detach_all();
  // Looks whether interfaces went or came back, and whether somebody removed the program.
  void sweep();
  bool has(const std::string& ifname) const { return guards_.count(ifname) != 0; }
  std::vector<GuardRecord> list() const;

 private:
  std::string xdp_pin(uint32_t ifindex) const;
  HookPoint tc_point(uint32_t ifindex) const;
  void adopt_links();
  void adopt_filters(const std::vector<LinkInfo>& links);
  Result<void> attach_to(const LinkInfo& link, GuardRecord& record);
  Result<void> try_mode(GuardMode mode, GuardRecord& record);
  Result<void> remove_from(uint32_t ifindex);
  void look_at(GuardRecord& record, Netlink& netlink);

  Loader& loader_;
  Hook tc_hook_;
  std::map<std::string, GuardRecord> guards_;  // by interface name
};

// What the pins say, for a look from outside; changes nothing. Filters by clsact have none.
std::vector<GuardRecord> read_guard_pins(const std::string& pin_root, Netlink& netlink);

// Interfaces with a filter by clsact of whoever uses this np_guard_st: filters have no pins.
std::vector<uint32_t> find_guard_filters(const std::vector<LinkInfo>& links, int stats_map_fd);

}  // namespace np::kernel
