// SPDX-License-Identifier: Apache-2.0
// The messages between supervisor and worker: a closed list of fixed layouts, one per datagram of a
// SOCK_SEQPACKET pair, at most one fd each. Both ends are one binary, so the layout needs no
// version. The supervisor checks every field as if the worker were hostile.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "base/address.h"
#include "bpf/abi/np_abi.h"

namespace np::kernel::link {

inline constexpr uint32_t kMagic = 0x6e706c31;  // "npl1"
inline constexpr size_t kMessageBytesMax = 4096;
inline constexpr size_t kPodAddressesMax = 8;
inline constexpr size_t kGatewayListenersMax = 64;
inline constexpr size_t kInterfaceNameBytes = 16;

enum class Kind : uint32_t {
  // supervisor to worker, once, in this order
  kHello = 1,
  kHandFd = 2,
  kHandText = 3,  // a line of the probe report
  kHandDone = 4,
  // worker to supervisor; each is answered by kAnswer with the same id
  kReady = 16,
  kAttachPod = 17,     // kPodState before the answer
  kDetachPod = 18,     //
  kListPods = 19,      // kPodState for each pod before the answer
  kSetListeners = 20,  // kHandFd for each new socket before the answer
  kSetBand = 21,
  kDetachAll = 22,
  kDrain = 23,
  kNoteEndpoint = 24,
  kCheckNode = 25,    // kNodeChecks before the answer
  kAttachGuard = 26,  // kGuardState before the answer
  kDetachGuard = 27,
  kListGuards = 28,  // kGuardState for each before the answer
  kTestAcceleration = 29,
  kGetAcceleration = 30,  // kAcceleration before the answer
  // supervisor to worker
  kAnswer = 32,
  kPodState = 33,
  kNodeChecks = 34,
  kGuardState = 35,
  kAcceleration = 36,
};

struct Header {
  uint32_t magic = kMagic;
  Kind kind{};
  uint32_t id = 0;
  uint32_t body_bytes = 0;
};

enum HelloFlags : uint32_t { kHasCapture = 1, kLostPredecessor = 2 };
struct Hello {
  uint32_t flags = 0;
  uint32_t counter_blocks = 0;
  uint32_t flow_records = 0;
  uint32_t series_bytes = 0;  // of kSeries, per shard
  uint64_t epoch = 0;
};

enum class FdRole : uint32_t {
  kMap = 1,              // index: enum Map
  kCaptureListener = 2,  // index: slot
  kGatewayListener = 3,
  kProxyNetns = 4,
  kControlSocket = 5,  // listening; of nodectl
  kSeries = 6,         // memory for the shards' metrics
  kLife = 7,           // a LifePage
};
struct Address {
  uint8_t ip[16] = {};
  uint16_t port = 0;
  uint16_t pad = 0;
};
struct HandFd {
  FdRole role{};
  uint32_t index = 0;
  uint32_t is_v6 = 0;
  Address address;  // kGatewayListener
};
struct HandText {
  char text[256] = {};
};

struct AttachPod {
  uint32_t pod_id = 0;
  uint32_t address_count = 0;
  uint8_t ips[kPodAddressesMax][16] = {};
  char ifname[kInterfaceNameBytes] = {};
  char name[NP_NAME_BYTES] = {};
};
struct DetachPod {
  uint32_t pod_id = 0;
};
struct PodState {
  uint32_t pod_id = 0;
  uint32_t ifindex = 0;
  uint64_t since_ns = 0;
  char ifname[kInterfaceNameBytes] = {};
  char hook[8] = {};
  char problem[256] = {};
};
struct AttachGuard {
  uint32_t mode = 0;     // enum GuardMode
  uint32_t is_kept = 0;  // also when it cannot be attached now
  char ifname[kInterfaceNameBytes] = {};
};
struct DetachGuard {
  char ifname[kInterfaceNameBytes] = {};
};
struct GuardState {
  uint32_t mode = 0;  // as asked for
  uint32_t hook = 0;  // enum GuardHook
  uint32_t ifindex = 0;
  char ifname[kInterfaceNameBytes] = {};
  char note[512] = {};
  char problem[512] = {};
};
struct SetListeners {
  uint32_t count = 0;
  Address addresses[kGatewayListenersMax];
};
struct SetBand {
  uint16_t low = 0;
  uint16_t high = 0;
};
struct NoteEndpoint {
  uint32_t kind = 0;  // enum np_event_kind, of an endpoint
  uint32_t service_id = 0;
  uint32_t count = 0;
  uint32_t pad = 0;
  Address endpoint;
};
// The findings of `nodectl doctor`, of which a node has as many as it has pods: the fd is a file in
// memory with a line for each, control::to_line() and the pod's id before it.
struct NodeChecks {
  uint32_t bytes = 0;
};
struct Acceleration {
  uint32_t phase = 0;  // enum AccelerationState::Phase
  uint32_t bytes = 0;  // of control::to_text(report), which the fd holds; 0: no fd
};
struct Answer {
  uint32_t is_error = 0;
  uint32_t code = 0;  // ErrorCode
  char what[256] = {};
  char detail[1024] = {};
  char hint[256] = {};
};

// Text fields: always zero-terminated, cut when longer.
template <size_t N>
void put_text(char (&field)[N], const std::string& text) {
  const size_t size = text.size() < N - 1 ? text.size() : N - 1;
  std::memcpy(field, text.data(), size);
  std::memset(field + size, 0, N - size);
}
template <size_t N>
std::string get_text(const char (&field)[N]) {
  return std::string(field, ::strnlen(field, N));
}

inline Address to_wire(const SocketAddress& address) {
  Address wire;
  std::memcpy(wire.ip, address.ip.bytes.data(), sizeof(wire.ip));
  wire.port = address.port;
  return wire;
}
inline SocketAddress from_wire(const Address& wire) {
  SocketAddress address;
  std::memcpy(address.ip.bytes.data(), wire.ip, sizeof(wire.ip));
  address.port = wire.port;
  return address;
}

}  // namespace np::kernel::link
