// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 POST over a connection of its own, with one deadline for all of it: connecting,
// sending, and the answer's first line. Blocks its caller; for threads that serve nobody.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "base/time.h"

namespace np::metrics {

// A connection to whichever address takes one first. They are tried in order, the next one as soon
// as one has failed or has not answered for a short while: one that is dead costs the others little
// time (RFC 8305 section 5). Not open: none did by `deadline`.
Fd connect_to_first(std::span<const SocketAddress> addresses, Instant deadline);

// The status of the answer; 0: there was none in time. `host` is a name or an address without
// brackets. The resolver has times of its own, which `patience` does not bound.
int post_json(const std::string& host, uint16_t port, const std::string& path,
              const std::string& body, Duration patience);

}  // namespace np::metrics
