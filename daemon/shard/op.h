// SPDX-License-Identifier: Apache-2.0
// Op: what a completion of the ring belongs to; the kind byte of its user_data.
#pragma once

#include <cstdint>

namespace np::shard {

enum class Op : uint8_t {
  kNone,
  kAccept,
  kAcceptCancel,
  kWake,
  kTick,
  kReceive,
  kSend,
  kConnect,
  kPodWritable,  // a pod socket's connect, begun outside the ring, has ended
  kWatch,        // a client's connection from which nothing is received has ended
  kShutdown,
  kCloseFile,
  kCancel,
  kExport,  // a descriptor is made, with which another shard goes on
  // These complete only when they fail:
  kInstall,
  kCloseFd,
  kSetOption,
};

}  // namespace np::shard
