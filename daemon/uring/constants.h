// SPDX-License-Identifier: Apache-2.0
// Kernel constants that are newer than liburing 2.3 (Debian 12). Each has a run-time probe or a
// fallback where it is used. Plain numbers of the kernel's UAPI, not to be changed.
#pragma once

#include <cstdint>

namespace np::uring {

// IORING_OP_URING_CMD on a socket, Linux 6.7: the command goes into sqe->cmd_op.
inline constexpr uint32_t kSocketCommandSetOption = 3;  // SOCKET_URING_OP_SETSOCKOPT
// Where liburing 2.3's sqe has other names: level and option name share sqe->addr's 8 bytes,
// the option's length takes file_index's place, and its address is addr3 (offset 48).
inline constexpr unsigned kSqeOffsetLevel = 16;
inline constexpr unsigned kSqeOffsetOptionName = 20;
inline constexpr unsigned kSqeOffsetOptionLength = 44;
inline constexpr unsigned kSqeOffsetOptionValue = 48;

// Gives a file of the fixed table a descriptor, Linux 6.8.
inline constexpr uint8_t kOperationExportFile = 54;  // IORING_OP_FIXED_FD_INSTALL

// A timer that goes on, Linux 6.4: a flag of IORING_OP_TIMEOUT.
inline constexpr unsigned kTimeoutMultishot = 1U << 6U;  // IORING_TIMEOUT_MULTISHOT

}  // namespace np::uring
