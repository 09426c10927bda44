// SPDX-License-Identifier: Apache-2.0
// MappedRegion: owns a shared, writable mapping of a map or memfd. What it shows is plain memory
// for any thread; who may write which part is the business of its users.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#include "base/result.h"

namespace np::kernel {

class MappedRegion {
 public:
  MappedRegion() = default;
  MappedRegion(MappedRegion&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}
  MappedRegion& operator=(MappedRegion&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;
  ~MappedRegion() {
    if (memory_ != nullptr) ::munmap(memory_, bytes_);
  }

  // `bytes` is rounded up to whole pages, as the kernel does for maps.
  static Result<MappedRegion> map(int fd, size_t bytes) {
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    MappedRegion region;
    region.bytes_ = (bytes + page - 1) / page * page;
    void* memory = ::mmap(nullptr, region.bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return system_error(errno, "map shared counters");
    region.memory_ = memory;
    return region;
  }

  // Null before map().
  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace np::kernel
