// SPDX-License-Identifier: Apache-2.0
// One ended request as bytes in a RecordRing: the numbers as they are, then the texts. Both ends
// are one process; nothing of it is ever stored.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/request_report.h"

namespace np::metrics {

// Who wants the record.
struct RecordUse {
  bool log = false;
  bool trace = false;
};

struct Record {
  RecordUse use;
  RequestReport report;
  RequestTexts texts;  // point into the bytes that were decoded
};

// Longer texts are cut: a request's head is bounded, a log line should be, too.
inline constexpr size_t kTextBytesMax = 2048;
// No request is larger: none escapes the log because of its size.
inline constexpr size_t kEncodedBytesMax = 52 * 1024;

size_t encoded_bytes(const RequestTexts& texts);
// `out` has room for encoded_bytes().
void encode(RecordUse use, const RequestReport& report, const RequestTexts& texts, char* out);
// `bytes` as written by encode().
Record decode(std::string_view bytes);

}  // namespace np::metrics
