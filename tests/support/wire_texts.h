// SPDX-License-Identifier: Apache-2.0
// Addresses and messages that the engine's tests have in common.
#pragma once

namespace np::test {

inline constexpr char kService[] = "10.96.0.10:9080";
inline constexpr char kTcp[] = "10.96.0.11:3306";
inline constexpr char kAuto[] = "10.96.0.12:7000";  // protocol by the first bytes
inline constexpr char kGet[] = "GET /x HTTP/1.1\r\nHost: r\r\n\r\n";
inline constexpr char kPost[] = "POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\nabc";
inline constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
inline constexpr char kFail[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown";
inline constexpr char kBroken[] = "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno";

}  // namespace np::test
