// SPDX-License-Identifier: Apache-2.0
// Heads of HTTP/1 messages: turns the bytes of one whole head into a Head and the facts that
// framing and connection reuse need, or says why it is refused (traffic-semantics 4.1 to 4.3). Pure
// functions over HeadMemory; used by H1Reader, which lets llhttp confirm what is not plain.
#pragma once

#include <string_view>

#include "http/h1_codec.h"
#include "http/h1_fields.h"
#include "http/head_memory.h"

namespace np::http {

// What an answer's framing depends on besides its own head.
enum class RequestKind : uint8_t { kOrdinary, kHead, kConnect };
RequestKind kind_of_method(std::string_view method);

struct HeadFacts {
  bool is_chunked = false;
  bool keep_alive = false;  // version and Connection allow another message
  bool expects_continue = false;
  bool accepts_trailers = false;
  // Of its framing there is only one reading: llhttp need not be asked (decision 0016).
  bool is_plain = false;
  // With their line ends, the blank line's too.
  size_t start_line_bytes = 0;
  size_t head_bytes = 0;
  RequestKind request = RequestKind::kOrdinary;  // of the request itself; known first
};

// The first line alone, with its CRLF, for heads that are still incomplete. `memory` is for its
// use.
Verdict check_request_line(std::string_view line, const H1Limits& limits, HeadMemory& memory);
Verdict check_status_line(std::string_view line, HeadMemory& memory);

// `bytes` begins with a head; which limits it keeps to, but for the number of fields, is the
// caller's to see. Refuses also when the head is not whole. Results point into `bytes` and
// `memory`.
Verdict read_request_head(std::string_view bytes, const H1Limits& limits, HeadMemory& memory,
                          HeadFacts& facts);
// `is_upgrade_asked`: the request carried Upgrade, so that 101 is an answer to it.
Verdict read_response_head(std::string_view bytes, const H1Limits& limits, RequestKind request,
                           bool is_upgrade_asked, HeadMemory& memory, HeadFacts& facts);

}  // namespace np::http
