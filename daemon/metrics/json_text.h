// SPDX-License-Identifier: Apache-2.0
// JSON and hexadecimal text, appended to a string. For what is written per request: a tree of
// objects per log line or span would cost more than the request. Documents are built with
// nlohmann-json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace np::metrics {

// Bytes of the UTF-8 sequence at the start of `text`; 0: it is none (RFC 3629 section 4).
size_t utf8_length(std::string_view text);
// With quotes. Texts come from clients: bytes that are not UTF-8 become U+FFFD, and what a terminal
// acts on unseen (base/printable.h) is escaped, since people read logs there.
void append_json(std::string& out, std::string_view text);
void append_hex(std::string& out, uint64_t value);  // 16 digits
void append_number(std::string& out, uint64_t value);
void append_number(std::string& out, int64_t value);
// `value` with `decimals` (0 to 6) behind the point.
void append_decimal(std::string& out, double value, int decimals);

}  // namespace np::metrics
