// SPDX-License-Identifier: Apache-2.0
#include "proxy/trace_context.h"

#include <algorithm>

#include "base/field.h"

namespace np::proxy {
namespace {

constexpr size_t kTraceDigits = 32;
constexpr size_t kSpanDigits = 16;

// Lower and upper case: W3C asks for lower case from senders, B3 says nothing.
std::optional<uint64_t> parse_hex(std::string_view text) {
  uint64_t value = 0;
  if (text.empty() || text.size() > kSpanDigits) return std::nullopt;
  for (const char c : text) {
    const char lower = ascii_lower(c);
    uint64_t digit = 0;
    if (lower >= '0' && lower <= '9') {
      digit = static_cast<uint64_t>(lower - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      digit = static_cast<uint64_t>(lower - 'a') + 10;
    } else {
      return std::nullopt;
    }
    value = value << 4U | digit;
  }
  return value;
}

// 16 or 32 digits, not all zero.
bool take_trace_id(std::string_view text, IncomingTrace& trace) {
  std::optional<uint64_t> high = 0;
  if (text.size() == kTraceDigits) {
    high = parse_hex(text.substr(0, kSpanDigits));
    text.remove_prefix(kSpanDigits);
  }
  if (text.size() != kSpanDigits) return false;
  const std::optional<uint64_t> low = parse_hex(text);
  if (!high || !low || (*high | *low) == 0) return false;
  trace.trace_high = *high;
  trace.trace_low = *low;
  return true;
}

bool take_span_id(std::string_view text, IncomingTrace& trace) {
  const std::optional<uint64_t> span = parse_hex(text);
  if (text.size() != kSpanDigits || !span || *span == 0) return false;
  trace.span = *span;
  return true;
}

// https://www.w3.org/TR/trace-context/#traceparent-header. Later versions may say more behind a
// dash; of them the fields known here are read.
bool take_traceparent(std::string_view text, IncomingTrace& trace) {
  constexpr size_t kSize = 55;
  if (text.size() < kSize || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const std::optional<uint64_t> version = parse_hex(text.substr(0, 2));
  if (!version || *version == 0xff) return false;
  if (text.size() > kSize && (*version == 0 || text[kSize] != '-')) return false;
  const std::optional<uint64_t> flags = parse_hex(text.substr(53, 2));
  IncomingTrace read;
  if (!flags || !take_trace_id(text.substr(3, kTraceDigits), read) ||
      !take_span_id(text.substr(36, kSpanDigits), read)) {
    return false;
  }
  read.sampled = (*flags & 1U) != 0;
  read.w3c = true;
  trace = read;
  return true;
}

std::optional<bool> decision(std::string_view text) {
  if (text == "1" || text == "d" || equals_ignoring_case(text, "true")) return true;
  if (text == "0" || equals_ignoring_case(text, "false")) return false;
  return std::nullopt;
}

void take_decision(std::string_view text, IncomingTrace& trace) {
  trace.sampled = decision(text);
  trace.debug = text == "d";
}

// b3: TRACE-SPAN, -SAMPLED and -PARENT may follow; or the decision alone.
bool take_single_b3(std::string_view text, IncomingTrace& trace) {
  IncomingTrace read;
  read.single_b3 = true;
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) {
    take_decision(text, read);
    if (!read.sampled) return false;
    trace = read;
    return true;
  }
  if (!take_trace_id(text.substr(0, dash), read)) return false;
  text.remove_prefix(dash + 1);
  if (!take_span_id(text.substr(0, std::min(text.find('-'), text.size())), read)) return false;
  if (text.size() > kSpanDigits + 1) {
    text.remove_prefix(kSpanDigits + 1);
    take_decision(text.substr(0, std::min(text.find('-'), text.size())), read);
  }
  trace = read;
  return true;
}

struct MultiB3 {
  std::string_view trace, span, sampled, flags;
};

void take_multi_b3(const MultiB3& b3, IncomingTrace& trace) {
  IncomingTrace read;
  if (!b3.trace.empty() && take_trace_id(b3.trace, read)) take_span_id(b3.span, read);
  read.sampled = decision(b3.sampled);
  trace = read;
}

// Which of the headers names the trace.
IncomingTrace choose(std::string_view traceparent, std::string_view single, const MultiB3& b3) {
  IncomingTrace trace;
  if (!traceparent.empty() && take_traceparent(traceparent, trace)) return trace;
  if (!single.empty() && take_single_b3(single, trace)) return trace;
  take_multi_b3(b3, trace);
  return trace;
}

// traceparent cannot say it, so it counts also when B3 stands beside one: a service that passes
// on all that it got sends both.
bool is_debug(std::string_view single, const MultiB3& b3) {
  IncomingTrace by_single;
  return b3.flags == "1" || (take_single_b3(single, by_single) && by_single.debug);
}

size_t write_digits(uint64_t value, char* out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = kSpanDigits; i-- > 0; value >>= 4U) out[i] = kDigits[value & 15U];
  return kSpanDigits;
}

uint64_t draw_id(Rng& rng) {
  const uint64_t id = rng.next();
  return id != 0 ? id : 1;
}

}  // namespace

bool is_trace_field(std::string_view name) {
  if (name.size() < 2) return false;
  switch (ascii_lower(name.front())) {
    case 'b':
      return equals_ignoring_case(name, "b3");
    case 't':
      return equals_ignoring_case(name, "traceparent");
    case 'x':
      return name.size() > 5 && equals_ignoring_case(name.substr(0, 5), "x-b3-");
    default:
      return false;
  }
}

IncomingTrace read_trace(FieldSpan fields) {
  MultiB3 b3;
  std::string_view traceparent, single;
  for (const Field& field : fields) {
    if (!is_trace_field(field.name)) continue;
    if (field.name.size() == 2) {
      single = field.value;
    } else if (ascii_lower(field.name.front()) == 't') {
      traceparent = field.value;
    } else if (equals_ignoring_case(field.name, "x-b3-traceid")) {
      b3.trace = field.value;
    } else if (equals_ignoring_case(field.name, "x-b3-spanid")) {
      b3.span = field.value;
    } else if (equals_ignoring_case(field.name, "x-b3-sampled")) {
      b3.sampled = field.value;
    } else if (equals_ignoring_case(field.name, "x-b3-flags")) {
      b3.flags = field.value;
    }
  }
  IncomingTrace trace = choose(traceparent, single, b3);
  trace.debug = is_debug(single, b3);
  if (trace.debug) trace.sampled = true;
  return trace;
}

TraceIds make_trace(const IncomingTrace& incoming, const TraceOptions& options, bool is_forced,
                    Rng& rng) {
  constexpr uint32_t kMillion = 1'000'000;
  TraceIds ids;
  ids.trace_high = incoming.trace_high;
  ids.trace_low = incoming.trace_low;
  ids.parent_span = incoming.span;
  if (!ids.is_on()) {
    ids.trace_high = draw_id(rng);
    ids.trace_low = draw_id(rng);
    ids.parent_span = 0;
  }
  ids.client_span = draw_id(rng);
  ids.server_span = draw_id(rng);
  if (incoming.sampled) {
    ids.sampled = *incoming.sampled;
    ids.debug = incoming.debug;
  } else {
    ids.sampled = is_forced || rng.chance(options.per_million, kMillion);
  }
  return ids;
}

size_t write_trace(const TraceIds& ids, const IncomingTrace& incoming, const TraceOptions& options,
                   char* text, std::array<Field, 5>& fields) {
  // "00-TRACE-SPAN-0S" and behind it the parent's digits: all other values are parts of these.
  char* const start = text;
  text = std::copy_n("00-", 3, text);
  const char* trace = text;
  text += write_digits(ids.trace_high, text);
  text += write_digits(ids.trace_low, text);
  *text++ = '-';
  const char* span = text;
  text += write_digits(ids.server_span, text);
  *text++ = '-';
  *text++ = '0';
  const char* sampled = text;
  *text++ = ids.sampled ? '1' : '0';
  size_t count = 0;
  fields[count++] = {"traceparent", {start, static_cast<size_t>(text - start)}};
  // Whoever began a trace with 64 bits goes on with 64.
  const bool is_short = ids.trace_high == 0;
  const std::string_view id = is_short ? std::string_view(trace + kSpanDigits, kSpanDigits)
                                       : std::string_view(trace, kTraceDigits);
  if (incoming.single_b3) {
    char* const single = text;
    text = std::copy(id.begin(), id.end(), text);
    *text++ = '-';
    text = std::copy_n(span, kSpanDigits, text);
    *text++ = '-';
    *text++ = ids.debug ? 'd' : *sampled;
    fields[count++] = {"b3", {single, static_cast<size_t>(text - single)}};
  } else if (options.send_b3) {
    const char* parent = text;
    text += write_digits(ids.client_span, text);
    fields[count++] = {"x-b3-traceid", id};
    fields[count++] = {"x-b3-spanid", {span, kSpanDigits}};
    fields[count++] = {"x-b3-parentspanid", {parent, kSpanDigits}};
    // Debug is a decision: the other one does not go with it.
    fields[count++] = {ids.debug ? "x-b3-flags" : "x-b3-sampled", {sampled, 1}};
  }
  return count;
}

}  // namespace np::proxy
