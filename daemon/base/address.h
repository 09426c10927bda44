// SPDX-License-Identifier: Apache-2.0
// IpAddress and SocketAddress: 16-byte, IPv4 as v4-mapped IPv6, as in the kernel maps. Value types.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

struct sockaddr;
struct sockaddr_storage;

namespace np {

struct IpAddress {
  std::array<uint8_t, 16> bytes{};  // network order; ::ffff:a.b.c.d for IPv4

  static IpAddress v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
  // "10.1.2.3", "fd00::1"; no brackets, no zone, no port.
  static std::optional<IpAddress> parse(std::string_view text);

  bool is_v4() const;
  bool is_unspecified() const;  // 0.0.0.0 or ::
  std::string to_string() const;
  // The same without heap use: writes into `buffer` and returns the part that was written.
  static constexpr size_t kTextBytesMax = 46;
  std::string_view format(std::array<char, kTextBytesMax>& buffer) const;
  auto operator<=>(const IpAddress&) const = default;
};

struct SocketAddress {
  IpAddress ip;
  uint16_t port = 0;  // host order

  // "10.1.2.3:80", "[fd00::1]:80".
  static std::optional<SocketAddress> parse(std::string_view text);
  static SocketAddress from_sockaddr(const sockaddr* address);
  // Fills `out` (AF_INET for IPv4 and v4-mapped) and returns its length.
  unsigned to_sockaddr(sockaddr_storage* out) const;
  std::string to_string() const;
  auto operator<=>(const SocketAddress&) const = default;
};

// An address prefix; `length` is in bits of the 16-byte form (96 + n for IPv4).
struct IpPrefix {
  IpAddress ip;
  uint8_t length = 128;

  // "10.0.0.0/8", "fd00::/8", or a bare address (whole length). Host bits must be zero.
  static std::optional<IpPrefix> parse(std::string_view text);
  bool contains(const IpAddress& address) const;
  bool is_single() const { return length == 128; }
  std::string to_string() const;
  auto operator<=>(const IpPrefix&) const = default;
};

struct IpAddressHash {
  size_t operator()(const IpAddress& ip) const;
};
struct SocketAddressHash {
  size_t operator()(const SocketAddress& address) const;
};

}  // namespace np
