// SPDX-License-Identifier: Apache-2.0
// Loader: the eBPF object in the kernel. Owns the loaded programs and maps of this process and the
// pins under BPFFS/INSTANCE/vN/{maps,progs,links}, which outlive it. Maps that are pinned already
// are taken over with their content; programs are loaded anew and put into the existing links by
// update (R39). State of another layout is carried over into the next vN (R41, layout_move.h);
// where that cannot be done for sure, load() refuses, says why, and has changed nothing.
// Supervisor only, single-threaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "bpf/abi/np_abi.h"
#include "kernel/instance.h"
#include "kernel/kernel_maps.h"

struct np_capture;

namespace np::kernel {

enum class Program : uint8_t {
  kPodIn,
  kPodOut,
  kRetIn,
  kPick,
  kSweep,
  kNote,
  kGuard,    // XDP
  kGuardTc,  // the same for tc
  kCount
};
const char* program_name(Program program);
struct SweepTimes {
  Duration closed = std::chrono::seconds(60);  // design.md 6
  Duration syn = std::chrono::seconds(10);
  Duration idle = std::chrono::hours(1);
};
struct SweepResult {
  uint64_t live = 0;
  uint64_t closed = 0;
  uint64_t removed = 0;
};

class Loader {
 public:
  static Result<std::unique_ptr<Loader>> load(const InstanceNames& names);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int map_fd(Map map) const;
  // Another descriptor of the map, which the kernel lets nobody write through.
  Result<Fd> open_read_only(Map map) const;
  int program_fd(Program program) const;
  std::string link_pin(const std::string& name) const { return pin_root_ + "/links/" + name; }
  const std::string& pin_root() const { return pin_root_; }

  // Fills np_config from `config` (abi and size are set here).
  Result<void> write_config(np_config config) const;
  Result<np_config> read_config() const;
  // One pass over np_flows.
  // Puts an event of an endpoint into np_events. False: nobody reads, or there is no room.
  Result<bool> note(const np_event& event);
  Result<SweepResult> sweep(const SweepTimes& times);
  // Sum over CPUs.
  Result<np_stats> read_stats() const;
  // np_pick on the proxy namespace; takes over a pinned link.
  Result<void> attach_pick(int netns_fd);

  // Removes all pins of an instance: maps live on while processes hold them.
  static Result<void> remove_pins(const InstanceNames& names);

 private:
  enum class Layout : uint8_t { kNone, kOwn, kOther };

  explicit Loader(InstanceNames names) : names_(std::move(names)) {}
  Result<void> open_object();
  Result<Layout> layout_of(const std::string& pin_root) const;
  bool fits_own_maps(const std::string& pin_root) const;
  // Finds pin_root_, and which other versions' state belongs into it.
  Result<void> choose_version();
  Result<void> load_object();
  Result<void> take_over_sources();
  Result<void> take_over(const std::string& source, bool is_first);
  Result<void> pin_programs() const;

  InstanceNames names_;
  std::string pin_root_;
  bool is_new_ = false;               // nothing was pinned in pin_root_ yet
  std::vector<std::string> sources_;  // pin roots of other layouts, newest first
  np_capture* skeleton_ = nullptr;
};

}  // namespace np::kernel
