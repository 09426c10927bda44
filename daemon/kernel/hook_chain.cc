// SPDX-License-Identifier: Apache-2.0
#include "kernel/hook_chain.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>

#include "base/fd.h"
#include "kernel/netlink.h"

namespace np::kernel {

namespace {

// Not in Linux 6.1's headers, which Debian 12 builds with.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);  // BPF_TCX_INGRESS
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);   // BPF_TCX_EGRESS
constexpr size_t kProgramsMax = 64;                             // of the kernel's list (bpf_mprog)
constexpr const char* kOwnPrefix = "np_";

void add_queried(std::vector<ChainEntry>& chain, int target, bpf_attach_type type) {
  uint32_t ids[kProgramsMax];
  uint32_t count = kProgramsMax;
  uint32_t flags = 0;
  if (::bpf_prog_query(target, type, 0, &flags, ids, &count) != 0) return;
  for (uint32_t i = 0; i < count; ++i) {
    chain.push_back({ChainEntry::Kind::kTcx, ids[i], program_name(ids[i]), 0, 0});
  }
}

}  // namespace

std::string program_name(uint32_t program_id) {
  const Fd program(::bpf_prog_get_fd_by_id(program_id));
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (!program.is_open() || ::bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) return "?";
  return *info.name == '\0' ? "unnamed" : info.name;
}

std::string to_text(const ChainEntry& entry) {
  if (entry.name.rfind(kOwnPrefix, 0) == 0) return entry.name;
  std::string text = entry.name + " (";
  if (entry.kind == ChainEntry::Kind::kXdp) text += "xdp, ";
  if (entry.kind == ChainEntry::Kind::kFilter) {
    text += "tc filter, pref " + std::to_string(entry.priority) + ", ";
  }
  if (entry.program_id == 0) return text + "no eBPF)";
  return text + "program " + std::to_string(entry.program_id) + ")";
}

bool uses_map(uint32_t program_id, int map_fd) {
  bpf_map_info map{};
  uint32_t map_bytes = sizeof(map);
  if (::bpf_obj_get_info_by_fd(map_fd, &map, &map_bytes) != 0) return false;
  const Fd program(::bpf_prog_get_fd_by_id(program_id));
  uint32_t ids[kProgramsMax];
  bpf_prog_info info{};
  uint32_t bytes = sizeof(info);
  info.nr_map_ids = kProgramsMax;
  info.map_ids = reinterpret_cast<uintptr_t>(ids);
  if (!program.is_open() || ::bpf_obj_get_info_by_fd(program.get(), &info, &bytes) != 0) {
    return false;
  }
  const size_t count = std::min<size_t>(info.nr_map_ids, kProgramsMax);
  return std::find(ids, ids + count, map.id) != ids + count;
}

std::vector<ChainEntry> read_chain(uint32_t ifindex, HookSide side) {
  std::vector<ChainEntry> chain;
  const bool is_ingress = side == HookSide::kIngress;
  uint32_t xdp = 0;
  if (is_ingress && ::bpf_xdp_query_id(static_cast<int>(ifindex), 0, &xdp) == 0 && xdp != 0) {
    chain.push_back({ChainEntry::Kind::kXdp, xdp, program_name(xdp), 0, 0});
  }
  add_queried(chain, static_cast<int>(ifindex), is_ingress ? kTcxIngress : kTcxEgress);
  Result<Netlink> netlink = Netlink::open();
  if (!netlink) return chain;
  const Result<std::vector<FilterInfo>> filters = netlink->filters(ifindex, is_ingress);
  if (!filters) return chain;
  for (const FilterInfo& filter : *filters) {
    if (filter.chain != 0) continue;  // reached only from a filter of chain 0
    ChainEntry entry{ChainEntry::Kind::kFilter, filter.program_id, filter.kind, filter.priority,
                     filter.handle};
    if (filter.program_id != 0) entry.name = program_name(filter.program_id);
    chain.push_back(std::move(entry));
  }
  return chain;
}

std::vector<ChainEntry> read_lookup_chain(int netns_fd) {
  std::vector<ChainEntry> chain;
  add_queried(chain, netns_fd, BPF_SK_LOOKUP);
  return chain;
}

}  // namespace np::kernel
