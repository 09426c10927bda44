// SPDX-License-Identifier: Apache-2.0
// MapShape: what the kernel knows about a map's layout, with the named fields of key and value from
// its BTF. RecordCopy: carries a record of one layout over into another, field by field: a field
// that both know by name and size is copied, one that the new layout lacks is dropped, one that the
// old lacks becomes zero. Supervisor only; values without state of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace np::kernel {

struct RecordField {
  uint32_t offset = 0;
  uint32_t bytes = 0;
};
// By name; a field of a nested struct is "outer.inner". Padding ("pad...") is left out.
using RecordFields = std::map<std::string, RecordField>;

struct MapShape {
  uint32_t type = 0;
  uint32_t key_bytes = 0;
  uint32_t value_bytes = 0;
  uint32_t max_entries = 0;
  uint32_t flags = 0;
  bool has_types = false;  // BTF; without it there are no fields
  RecordFields key, value;

  static Result<MapShape> read(int map_fd);
  bool is_per_cpu() const;
  // What the kernel hands out for one key: per-CPU maps have a value for each CPU, stride() apart.
  size_t buffer_bytes() const;
  size_t stride() const;
};

class RecordCopy {
 public:
  RecordCopy(const RecordFields& from, const RecordFields& to);
  // `to` is zeroed by the caller.
  void apply(const char* from, char* to) const;

 private:
  struct Piece {
    uint32_t from = 0, to = 0, bytes = 0;
  };
  std::vector<Piece> pieces_;
};

// Whether both say which entry is meant by the same fields, wherever these are.
bool is_same_key(const RecordFields& from, const RecordFields& to);

}  // namespace np::kernel
