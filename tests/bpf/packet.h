// SPDX-License-Identifier: Apache-2.0
// Packet: builds one Ethernet frame for BPF_PROG_TEST_RUN, well-formed unless a field says else.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"

namespace np::kernel {

inline constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;

struct Packet {
  const char* source = "10.77.1.2";
  const char* destination = "10.96.0.10";
  uint16_t source_port = 40000;
  uint16_t destination_port = 80;
  uint8_t flags = kSyn;
  uint32_t seq = 1000;
  uint32_t ack = 0;
  uint32_t payload_bytes = 0;
  uint8_t protocol = IPPROTO_TCP;
  uint8_t ip_option_words = 0;        // IPv4
  uint16_t fragment = 0;              // IPv4: flags and offset as in the header
  std::vector<uint8_t> extensions{};  // IPv6: header types, 8 bytes each
  uint16_t fragment_v6 = 0;           // of an extension of type 44
  uint8_t tcp_header_words = 5;       // what the header claims
  int length_error = 0;               // added to the IP length field
  uint16_t ether_type = 0;            // 0: by the addresses
  uint32_t padding_bytes = 0;         // after the packet, as short frames have
  uint32_t cut_bytes = 0;             // missing at the end

  std::vector<uint8_t> build() const;
};

}  // namespace np::kernel
