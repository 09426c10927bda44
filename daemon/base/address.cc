// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace np {
namespace {

constexpr std::array<uint8_t, 12> kV4MappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr uint8_t kV4PrefixBits = 96;
constexpr uint8_t kAllBits = 128;

template <typename Number>
std::optional<Number> parse_decimal(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

}  // namespace

IpAddress IpAddress::v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  IpAddress ip;
  std::copy(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), ip.bytes.begin());
  ip.bytes[12] = a;
  ip.bytes[13] = b;
  ip.bytes[14] = c;
  ip.bytes[15] = d;
  return ip;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof(buffer)) return {};
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  IpAddress ip;
  if (in_addr four{}; ::inet_pton(AF_INET, buffer, &four) == 1) {
    std::copy(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), ip.bytes.begin());
    std::memcpy(&ip.bytes[12], &four, sizeof(four));
    return ip;
  }
  if (::inet_pton(AF_INET6, buffer, ip.bytes.data()) == 1) return ip;
  return {};
}

bool IpAddress::is_v4() const {
  return std::equal(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), bytes.begin());
}

bool IpAddress::is_unspecified() const {
  const size_t start = is_v4() ? 12 : 0;
  return std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(start), bytes.end(),
                     [](uint8_t byte) { return byte == 0; });
}

std::string IpAddress::to_string() const {
  std::array<char, kTextBytesMax> buffer;
  return std::string(format(buffer));
}

std::string_view IpAddress::format(std::array<char, kTextBytesMax>& buffer) const {
  static_assert(kTextBytesMax >= INET6_ADDRSTRLEN);
  if (!is_v4()) {
    ::inet_ntop(AF_INET6, bytes.data(), buffer.data(), kTextBytesMax);
    return buffer.data();
  }
  // Once per request: the library's way through printf costs ten times as much.
  char* out = buffer.data();
  for (size_t i = 12; i < bytes.size(); ++i) {
    if (i > 12) *out++ = '.';
    out = std::to_chars(out, buffer.data() + buffer.size(), bytes[i]).ptr;
  }
  return {buffer.data(), static_cast<size_t>(out - buffer.data())};
}

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto ip = IpAddress::parse(host);
  const auto port = parse_decimal<uint16_t>(text.substr(colon + 1));
  if (!ip || !port || bracketed == ip->is_v4()) return {};
  return SocketAddress{*ip, *port};
}

SocketAddress SocketAddress::from_sockaddr(const sockaddr* address) {
  SocketAddress result;
  if (address->sa_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, address, sizeof(four));
    result.ip = IpAddress::v4(0, 0, 0, 0);
    std::memcpy(&result.ip.bytes[12], &four.sin_addr, sizeof(four.sin_addr));
    result.port = ntohs(four.sin_port);
  } else if (address->sa_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, address, sizeof(six));
    std::memcpy(result.ip.bytes.data(), &six.sin6_addr, sizeof(six.sin6_addr));
    result.port = ntohs(six.sin6_port);
  }
  return result;
}

unsigned SocketAddress::to_sockaddr(sockaddr_storage* out) const {
  std::memset(out, 0, sizeof(*out));
  if (ip.is_v4()) {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    std::memcpy(&four.sin_addr, &ip.bytes[12], sizeof(four.sin_addr));
    std::memcpy(out, &four, sizeof(four));
    return sizeof(four);
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  std::memcpy(&six.sin6_addr, ip.bytes.data(), sizeof(six.sin6_addr));
  std::memcpy(out, &six, sizeof(six));
  return sizeof(six);
}

std::string SocketAddress::to_string() const {
  const std::string host = ip.to_string();
  return (ip.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const auto ip = IpAddress::parse(text.substr(0, slash));
  if (!ip) return {};
  IpPrefix prefix{*ip, kAllBits};
  if (slash != std::string_view::npos) {
    const auto bits = parse_decimal<uint8_t>(text.substr(slash + 1));
    const uint8_t limit = ip->is_v4() ? kAllBits - kV4PrefixBits : kAllBits;
    if (!bits || *bits > limit) return {};
    prefix.length = static_cast<uint8_t>(ip->is_v4() ? *bits + kV4PrefixBits : *bits);
  }
  for (unsigned bit = prefix.length; bit < kAllBits; ++bit) {
    if ((ip->bytes[bit / 8] & (0x80U >> (bit % 8))) != 0) return {};
  }
  return prefix;
}

bool IpPrefix::contains(const IpAddress& address) const {
  const size_t whole = length / 8;
  if (std::memcmp(ip.bytes.data(), address.bytes.data(), whole) != 0) return false;
  const unsigned rest = length % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xffU << (8 - rest));
  return ((ip.bytes[whole] ^ address.bytes[whole]) & mask) == 0;
}

std::string IpPrefix::to_string() const {
  const int bits = ip.is_v4() ? length - kV4PrefixBits : length;
  return ip.to_string() + "/" + std::to_string(bits);
}

size_t IpAddressHash::operator()(const IpAddress& ip) const {
  uint64_t halves[2];
  std::memcpy(halves, ip.bytes.data(), sizeof(halves));
  return static_cast<size_t>(
      (halves[0] ^ (halves[1] * 0x9e3779b97f4a7c15U)) * 0xbf58476d1ce4e5b9U >> 7U);
}

size_t SocketAddressHash::operator()(const SocketAddress& address) const {
  return IpAddressHash()(address.ip) * 31 + address.port;
}

}  // namespace np
