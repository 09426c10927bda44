// SPDX-License-Identifier: Apache-2.0
// LayoutMove: carries kernel state that was pinned in another layout over into the maps of a Loader
// (R41). In order:
//   plan()             looks at everything and changes nothing; refuses what it could only guess at
//   copy()             entries of all maps, before any program uses the new ones
//   switch_programs()  one hook after the other gets the new program in place of the old (R39)
//   complete()         what the old programs still wrote between copy() and their end
//   remove_source()    the old pins
// Interrupted after copy(), a next start goes on from there. What only eBPF adds up (totals) begins
// at zero in copy() and is added in complete(), so that nothing is counted twice.
// Owned by Loader::load(). Supervisor only, single-threaded.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/kernel_maps.h"
#include "kernel/map_shape.h"

namespace np::kernel {

class Loader;
enum class Program : uint8_t;

class LayoutMove {
 public:
  static Result<LayoutMove> plan(const Loader& target, const std::string& source_root);

  enum class Scope : uint8_t {
    kAll,      // into new maps; the last write says that they are complete
    kMissing,  // into maps in use: entries that they lack
  };
  Result<void> copy(Scope scope);
  Result<void> switch_programs();
  Result<void> complete();
  void remove_source();
  // For the log.
  std::string summary() const;

 private:
  struct MapMove {
    Map map{};
    Fd from;
    int to = -1;
    MapShape from_shape, to_shape;
    RecordCopy key, value, counters;  // `value` without what is in `counters`
    uint64_t moved = 0;
  };
  // One entry as the old layout has it and as the new one will.
  struct Entry {
    std::string old_key, key, value;
    std::string old_value;
  };
  using Visit = std::function<Result<void>(const Entry&)>;

  LayoutMove(const Loader& target, std::string source_root)
      : target_(target), source_root_(std::move(source_root)) {}
  Result<void> plan_links() const;
  Result<void> plan_map(Map map);
  Error refuse(Map map, const std::string& why) const;
  Result<void> for_each(const MapMove& move, const Visit& visit) const;
  Result<void> copy_map(MapMove& move, Scope scope);
  Result<void> copy_config(const MapMove& move) const;
  Result<void> switch_link(const std::string& name);
  Result<void> switch_filter(uint32_t ifindex, const std::string& link, Program program) const;
  Result<void> switch_filters() const;
  Result<void> switch_guard_filters() const;
  Result<void> complete_flows(const MapMove& move);
  Result<void> add_totals(const MapMove& move);

  const Loader& target_;
  std::string source_root_;
  std::vector<MapMove> moves_;
};

}  // namespace np::kernel
