// SPDX-License-Identifier: Apache-2.0
// Field lines of an HTTP/1 section: splits them under strict rules and sorts out those that belong
// to framing or to the connection. Pure functions over HeadMemory; used by h1_head.cc.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/head_memory.h"

namespace np::http {

// Why a message is refused; `detail` is static text. Default: it is not.
struct Verdict {
  uint16_t status = 0;
  const char* detail = nullptr;
  bool is_refused() const { return detail != nullptr; }
};
inline constexpr Verdict kAccepted{};
inline Verdict refuse(const char* detail) {
  return {400, detail};
}

// What Transfer-Encoding says over all its fields.
struct CodingList {
  bool is_malformed = false;
  bool has_chunked = false;
  bool ends_in_chunked = false;
  bool has_other = false;
};

// What the fields say that are not end-to-end.
struct FieldSummary {
  std::string_view host;
  std::string_view content_length;
  std::string_view upgrade;
  std::string_view expect;
  uint32_t host_count = 0;
  uint32_t content_length_count = 0;
  uint32_t upgrade_count = 0;
  uint32_t expect_count = 0;
  uint32_t transfer_encoding_count = 0;
  CodingList codings;
  bool accepts_trailers = false;
  bool has_close = false;
  bool has_keep_alive = false;
  bool has_upgrade_option = false;
};

enum class Section : uint8_t { kRequestHead, kResponseHead, kTrailers };

// `lines` are whole lines, each ended by CRLF, without the blank one. Fills memory.fields with the
// end-to-end fields (in trailers: those that may be passed on) and `summary` with the rest, and
// adds to memory.framing_lines.
Verdict read_fields(std::string_view lines, Section section, HeadMemory& memory,
                    FieldSummary& summary);

// Appends to the last piece where `line` lies behind it.
void add_framing_line(std::string_view line, HeadMemory& memory);

}  // namespace np::http
