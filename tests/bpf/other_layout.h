// SPDX-License-Identifier: Apache-2.0
// OtherLayout: what a daemon of another version left in the kernel: the real programs with maps of
// another layout (other_layout.cmake), pinned and attached. It speaks no type of this version's
// np_abi.h, so that the two cannot be mixed up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/address.h"
#include "base/time.h"

namespace np::kernel {

class OtherLayout {
 public:
  // Null when it cannot be loaded.
  static std::unique_ptr<OtherLayout> load(const std::string& pin_root);
  ~OtherLayout();

  int map_fd(const char* name) const;
  int program_fd(const char* name) const;
  uint32_t version() const;

  bool put_config(uint32_t np0_ifindex);
  bool put_pod(const IpAddress& ip, uint32_t ifindex, uint32_t id, const std::string& name);
  bool put_service(const SocketAddress& dialled, uint32_t id, const std::string& name);
  bool put_prefix(const IpPrefix& prefix, uint16_t port, uint32_t id);
  bool beat(Instant now, uint64_t epoch);
  // The payload bytes from the pod and the state of the only flow; false when there is not one.
  bool only_flow(uint64_t* tx_bytes, uint8_t* state) const;

 private:
  OtherLayout() = default;
  struct Object;
  std::unique_ptr<Object> object_;
};

}  // namespace np::kernel
