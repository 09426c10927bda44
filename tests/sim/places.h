// SPDX-License-Identifier: Apache-2.0
// Addresses and ids that a World's parts agree on.
#pragma once

#include <cstdint>

#include "tests/sim/peers.h"

namespace np::sim {

inline constexpr char kService[] = "10.96.0.1:80";
inline constexpr char kTcpService[] = "10.96.0.2:5432";
inline constexpr char kBind[] = "0.0.0.0:8080";
inline constexpr const char* kWeb[] = {"10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80"};
inline constexpr char kChat[] = "10.1.0.8:80";
inline constexpr const char* kDatabase[] = {"10.1.0.9:5432", "10.1.0.10:5432"};

inline constexpr uint32_t kWebClusterId = 1;  // as PolicyFixture counts
inline constexpr uint32_t kWebServiceId = 1;
inline constexpr uint32_t kEchoClientsMax = 3;

// By caller, which is also the number of its workload; the first comes in by the gateway.
inline constexpr const char* kCallerAddresses[kCallers] = {"10.2.0.3", "10.2.0.1", "10.2.0.4"};

}  // namespace np::sim
