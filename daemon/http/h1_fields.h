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
  // No line about framing but at most one Content-Length, and nothing in Connection but the two
  // options that everybody sends, each written as we would write it (decision 0016).
  bool is_plain = true;
};

enum class Section : uint8_t { kRequestHead, kResponseHead, kTrailers };

// Takes lines off `bytes`, at most `lines_max`, and the blank one behind them. Fills memory.fields
// with the end-to-end fields (in trailers: those that may be passed on) and `summary` with the
// rest. Refuses also when the blank line is not there yet.
Verdict read_fields(std::string_view& bytes, size_t lines_max, Section section, HeadMemory& memory,
                    FieldSummary& summary);

}  // namespace np::http
