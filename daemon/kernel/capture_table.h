// SPDX-License-Identifier: Apache-2.0
// KernelCaptureTable: makes np_svc and np_cidr say what a snapshot wants captured. An entry that a
// policy no longer wants is turned to DRAIN, so that captured connections keep reaching the proxy
// until they end (R6); it is deleted later, when its service has no open flow any more.
// Worker, control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "control/seams.h"
#include "kernel/kernel_maps.h"

namespace np::kernel {

class KernelCaptureTable final : public control::CaptureTable {
 public:
  // Begins with what the maps hold: an earlier worker's entries.
  KernelCaptureTable(int services, int prefixes, int totals);

  // All or nothing: when the maps are full, entries that were new are removed again.
  Result<void> add(const policy::Snapshot& snapshot) override;
  Result<void> retire(const policy::Snapshot& snapshot) override;

 private:
  // One captured address or prefix, in the order-comparable form of both maps.
  struct Target {
    bool is_prefix = false;
    uint8_t length = 128;
    std::array<uint8_t, 16> ip{};
    uint16_t port = 0;
    auto operator<=>(const Target&) const = default;
  };
  struct Entry {
    uint32_t service_id = 0;
    bool is_draining = false;
    Instant draining_since{};
    bool is_wanted = false;
  };

  void load();
  int write(const Target& target, const np_svc& value);
  int erase(const Target& target);
  bool read(const Target& target, np_svc* value) const;
  Result<void> add_one(const Target& target, uint32_t service_id, uint8_t fail,
                       const std::string& name, uint64_t generation, std::vector<Target>* added);
  bool has_open_flows(uint32_t service_id) const;

  MapView<np_svc_key, np_svc> services_;
  MapView<np_cidr_key, np_svc> prefixes_;
  MapView<uint32_t, np_svcst> totals_;
  std::map<Target, Entry> entries_;
};

}  // namespace np::kernel
