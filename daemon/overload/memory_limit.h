// SPDX-License-Identifier: Apache-2.0
// The memory limit that the kernel holds this process to: of its cgroup or an ancestor, version 2
// or 1, else the machine's memory. Looked up once, at start; files are the kernel's, not a peer's.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace np::overload {

struct MemoryLimit {
  uint64_t bytes = 0;     // 0: not known
  std::string source;     // for people: "--memory-limit", "memory.max of /kubepods/pod1", "machine"
  std::string directory;  // of the cgroup whose limit it is; empty: not a cgroup's
  bool is_v1 = false;
};

// Where to look; tests give directories of their own.
struct MemoryFiles {
  std::string proc = "/proc";
  std::string cgroup_root = "/sys/fs/cgroup";
};

// The smallest limit among the process's cgroup and its ancestors.
MemoryLimit find_memory_limit(const MemoryFiles& files);

// "536870912", "512Mi", "512MiB", "1.5Gi", "500M": Ki, Mi, Gi are powers of 1024, K, M, G of 1000,
// as in Kubernetes.
Result<uint64_t> parse_bytes(const std::string& text);

// Of a cgroup's files, in bytes: everything charged to it (of all its processes, socket buffers
// too) but the caches, which the kernel takes back before it kills. 0: they cannot be read as such.
uint64_t working_set(const std::string& usage_text, const std::string& stat_text, bool is_v1);

}  // namespace np::overload
