// SPDX-License-Identifier: Apache-2.0
#include "bpf/packet.h"

namespace np::kernel {

namespace {

void put16(std::vector<uint8_t>& out, uint32_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

void put32(std::vector<uint8_t>& out, uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}

void put_ip(std::vector<uint8_t>& out, const IpAddress& ip) {
  out.insert(out.end(), ip.bytes.begin() + (ip.is_v4() ? 12 : 0), ip.bytes.end());
}

std::vector<uint8_t> build_l4(const Packet& packet) {
  std::vector<uint8_t> l4;
  put16(l4, packet.source_port);
  put16(l4, packet.destination_port);
  if (packet.protocol != IPPROTO_TCP) {
    l4.resize(8 + packet.payload_bytes);
    return l4;
  }
  put32(l4, packet.seq);
  put32(l4, packet.ack);
  l4.push_back(static_cast<uint8_t>(packet.tcp_header_words << 4));
  l4.push_back(packet.flags);
  put16(l4, 65535);
  put32(l4, 0);
  l4.resize(20 + packet.payload_bytes);
  return l4;
}

std::vector<uint8_t> build_v4(const Packet& packet, const std::vector<uint8_t>& l4) {
  std::vector<uint8_t> out;
  const uint32_t header_words = 5U + packet.ip_option_words;
  const auto total = static_cast<int>(header_words * 4 + l4.size()) + packet.length_error;
  put16(out, 0x4000 | header_words << 8);
  put16(out, static_cast<uint32_t>(total));
  put16(out, 1);
  put16(out, packet.fragment);
  out.push_back(64);
  out.push_back(packet.protocol);
  put16(out, 0);
  put_ip(out, *IpAddress::parse(packet.source));
  put_ip(out, *IpAddress::parse(packet.destination));
  out.insert(out.end(), size_t{packet.ip_option_words} * 4, 1);  // no-operation options
  out.insert(out.end(), l4.begin(), l4.end());
  return out;
}

std::vector<uint8_t> build_v6(const Packet& packet, const std::vector<uint8_t>& l4) {
  std::vector<uint8_t> out;
  put32(out, 0x60000000);
  put16(out, static_cast<uint32_t>(static_cast<int>(packet.extensions.size() * 8 + l4.size()) +
                                   packet.length_error));
  out.push_back(packet.extensions.empty() ? packet.protocol : packet.extensions.front());
  out.push_back(64);
  put_ip(out, *IpAddress::parse(packet.source));
  put_ip(out, *IpAddress::parse(packet.destination));
  for (size_t i = 0; i < packet.extensions.size(); ++i) {
    const bool is_last = i + 1 == packet.extensions.size();
    out.push_back(is_last ? packet.protocol : packet.extensions[i + 1]);
    out.push_back(0);
    put16(out, packet.extensions[i] == IPPROTO_FRAGMENT ? packet.fragment_v6 : 0);
    put32(out, 0);
  }
  out.insert(out.end(), l4.begin(), l4.end());
  return out;
}

}  // namespace

std::vector<uint8_t> Packet::build() const {
  const bool v4 = IpAddress::parse(source)->is_v4();
  std::vector<uint8_t> out = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  put16(out, ether_type != 0 ? ether_type : v4 ? 0x0800 : 0x86dd);
  const std::vector<uint8_t> l4 = build_l4(*this);
  const std::vector<uint8_t> ip = v4 ? build_v4(*this, l4) : build_v6(*this, l4);
  out.insert(out.end(), ip.begin(), ip.end());
  out.resize(out.size() - cut_bytes + padding_bytes);
  return out;
}

}  // namespace np::kernel
