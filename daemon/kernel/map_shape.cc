// SPDX-License-Identifier: Apache-2.0
#include "kernel/map_shape.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace np::kernel {

namespace {

constexpr uint32_t kNestingMax = 4;
constexpr uint32_t kPerCpuAlign = 8;
constexpr const char* kWhole = "";  // name of a key or value that is no struct

void add_fields(const btf* types, uint32_t type_id, const std::string& prefix, uint32_t base,
                uint32_t depth, RecordFields* fields) {
  const int resolved = ::btf__resolve_type(types, type_id);
  const btf_type* type =
      resolved > 0 ? ::btf__type_by_id(types, static_cast<uint32_t>(resolved)) : nullptr;
  const int64_t bytes = ::btf__resolve_size(types, type_id);
  if (type == nullptr || bytes <= 0) return;
  if (!btf_is_struct(type) || depth > kNestingMax) {
    (*fields)[prefix] = {base, static_cast<uint32_t>(bytes)};
    return;
  }
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    const btf_member& member = btf_members(type)[i];
    const std::string name = ::btf__name_by_offset(types, member.name_off);
    if (name.rfind("pad", 0) == 0 || btf_member_bitfield_size(type, i) != 0) continue;
    const std::string path = prefix.empty() ? name : prefix + "." + name;
    add_fields(types, member.type, path, base + btf_member_bit_offset(type, i) / 8, depth + 1,
               fields);
  }
}

}  // namespace

Result<MapShape> MapShape::read(int map_fd) {
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(map_fd, &info, &size) != 0) {
    return system_error(errno, "read the layout of a map");
  }
  MapShape shape{
      info.type, info.key_size, info.value_size, info.max_entries, info.map_flags, false, {}, {}};
  if (info.btf_id == 0 || info.btf_value_type_id == 0) return shape;
  const std::unique_ptr<btf, void (*)(btf*)> types(::btf__load_from_kernel_by_id(info.btf_id),
                                                   ::btf__free);
  if (!types) return system_error(errno, "read the types of a map");
  shape.has_types = true;
  add_fields(types.get(), info.btf_key_type_id, kWhole, 0, 0, &shape.key);
  add_fields(types.get(), info.btf_value_type_id, kWhole, 0, 0, &shape.value);
  return shape;
}

bool MapShape::is_per_cpu() const {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

size_t MapShape::stride() const {
  return (size_t{value_bytes} + kPerCpuAlign - 1) / kPerCpuAlign * kPerCpuAlign;
}

size_t MapShape::buffer_bytes() const {
  if (!is_per_cpu()) return value_bytes;
  return stride() * static_cast<size_t>(std::max(1, ::libbpf_num_possible_cpus()));
}

RecordCopy::RecordCopy(const RecordFields& from, const RecordFields& to) {
  for (const auto& [name, field] : to) {
    const auto old = from.find(name);
    if (old == from.end() || old->second.bytes != field.bytes) continue;
    pieces_.push_back({old->second.offset, field.offset, field.bytes});
  }
}

void RecordCopy::apply(const char* from, char* to) const {
  for (const Piece& piece : pieces_) std::memcpy(to + piece.to, from + piece.from, piece.bytes);
}

bool is_same_key(const RecordFields& from, const RecordFields& to) {
  return std::equal(from.begin(), from.end(), to.begin(), to.end(),
                    [](const auto& one, const auto& other) {
                      return one.first == other.first && one.second.bytes == other.second.bytes;
                    });
}

}  // namespace np::kernel
