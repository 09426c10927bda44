// SPDX-License-Identifier: Apache-2.0
// Loader: the eBPF object in the kernel. Owns the loaded programs and maps of this process and the
// pins under BPFFS/INSTANCE/v1/{maps,progs,links}, which outlive it. Maps that are pinned already
// are taken over with their content; programs are loaded anew and put into the existing links by
// update (R39). A pinned map of another layout is never touched: load() refuses and says what to
// do. Supervisor only, single-threaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "bpf/abi/np_abi.h"
#include "kernel/instance.h"
#include "kernel/kernel_maps.h"

struct np_capture;

namespace np::kernel {

enum class Program : uint8_t { kPodIn, kRetIn, kPick, kSweep };
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
  int program_fd(Program program) const;
  std::string link_pin(const std::string& name) const { return names_.pin_root + "/links/" + name; }

  // Fills np_config from `config` (abi and size are set here).
  Result<void> write_config(np_config config);
  Result<np_config> read_config() const;
  // One pass over np_flows.
  Result<SweepResult> sweep(const SweepTimes& times);
  // Sum over CPUs.
  Result<np_stats> read_stats() const;
  // np_pick on the proxy namespace; takes over a pinned link.
  Result<void> attach_pick(int netns_fd);

  // Removes all pins of an instance: maps live on while processes hold them.
  static Result<void> remove_pins(const InstanceNames& names);

 private:
  explicit Loader(InstanceNames names) : names_(std::move(names)) {}
  Result<void> prepare_directories() const;
  Result<void> refuse_other_abi() const;
  Result<void> open_and_load();
  Result<void> pin_programs() const;

  InstanceNames names_;
  np_capture* skeleton_ = nullptr;
};

}  // namespace np::kernel
