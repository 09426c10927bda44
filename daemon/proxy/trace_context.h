// SPDX-License-Identifier: Apache-2.0
// Trace headers (traffic-semantics 3.9): W3C Trace Context, B3 in several headers and in one. Pure
// functions over header fields; what cannot be read counts as absent.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "base/field.h"
#include "base/random.h"
#include "base/request_report.h"

namespace np::proxy {

// What a caller said.
struct IncomingTrace {
  uint64_t trace_high = 0, trace_low = 0;  // 0: it named no trace
  uint64_t span = 0;
  std::optional<bool> sampled;  // its decision, if it made one
  bool debug = false;           // B3's: sampled by whoever sees it, whatever its share is
  bool single_b3 = false;       // it used the one header `b3`
  bool w3c = false;             // tracestate goes with a valid traceparent only
};

IncomingTrace read_trace(FieldSpan fields);

// Ids of one request: those of the caller go on, what is missing is drawn.
TraceIds make_trace(const IncomingTrace& incoming, const TraceOptions& options, bool is_forced,
                    Rng& rng);

// Headers that are replaced on the way when tracing is on. tracestate is not among them.
bool is_trace_field(std::string_view name);

// The headers for the endpoint, at most five. They point into `text`, which has room for
// kTraceTextBytes. Returns their number.
inline constexpr size_t kTraceTextBytes = 55 + 32 + 16 + 3;
size_t write_trace(const TraceIds& ids, const IncomingTrace& incoming, const TraceOptions& options,
                   char* text, std::array<Field, 5>& fields);

}  // namespace np::proxy
