// SPDX-License-Identifier: Apache-2.0
#include "http/h1_head.h"

#include "base/ascii.h"
#include "http/grammar.h"

namespace np::http {
namespace {

std::string_view without_line_end(std::string_view line) {
  line.remove_suffix(2);
  return line;
}

// Takes the start line off, without its CRLF; empty when it has none.
std::string_view take_start_line(std::string_view& bytes, HeadFacts& facts) {
  const size_t end = bytes.find('\n');
  if (end == std::string_view::npos || end == 0 || bytes[end - 1] != '\r') return {};
  facts.start_line_bytes = end + 1;
  const std::string_view line = bytes.substr(0, end - 1);
  bytes.remove_prefix(end + 1);
  return line;
}

// HTTP/DIGIT.DIGIT
bool is_version(std::string_view text) {
  return text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5]) && text[6] == '.' &&
         is_digit(text[7]);
}

Verdict read_version(std::string_view text, Version& out) {
  if (!is_version(text)) return refuse("bad_version");
  if (text == "HTTP/1.1") {
    out = Version::kHttp11;
  } else if (text == "HTTP/1.0") {
    out = Version::kHttp10;
  } else {
    return {505, "version"};
  }
  return kAccepted;
}

// absolute-form: its authority wins over Host; what is left becomes origin-form.
Verdict read_absolute_target(std::string_view target, HeadMemory& memory) {
  Head& head = memory.head;
  const size_t scheme_size = target.find("://");
  if (scheme_size == std::string_view::npos) return refuse("target_form");
  const std::string_view scheme = target.substr(0, scheme_size);
  if (equals_ignoring_case(scheme, "http")) {
    head.scheme = "http";
  } else if (equals_ignoring_case(scheme, "https")) {
    head.scheme = "https";
  } else {
    return refuse("target_scheme");
  }
  target.remove_prefix(scheme_size + 3);
  const size_t authority_size = std::min(target.find_first_of("/?"), target.size());
  head.authority = target.substr(0, authority_size);
  if (const char* fault = find_authority_fault(head.authority, PortRule::kOptional)) {
    return refuse(fault);
  }
  target.remove_prefix(authority_size);
  if (target.empty()) {
    head.target = head.method == "OPTIONS" ? "*" : "/";  // RFC 9112 3.2.4
  } else if (target.front() == '?') {
    memory.target.assign(1, '/');
    memory.target.append(target);
    head.target = memory.target;
  } else {
    head.target = target;
  }
  return kAccepted;
}

Verdict read_target(std::string_view target, const H1Limits& limits, HeadMemory& memory) {
  Head& head = memory.head;
  if (target.size() > limits.target_bytes_max) return {414, "target_too_long"};
  if (!is_target(target)) return refuse("bad_target");
  if (head.method == "CONNECT") {
    head.authority = target;
    const char* const fault = find_authority_fault(target, PortRule::kRequired);
    return fault == nullptr ? kAccepted : refuse(fault);
  }
  head.target = target;
  if (target.front() == '/') return kAccepted;
  if (target == "*") return head.method == "OPTIONS" ? kAccepted : refuse("target_form");
  return read_absolute_target(target, memory);
}

Verdict read_request_line(std::string_view line, const H1Limits& limits, HeadMemory& memory,
                          HeadFacts& facts) {
  Head& head = memory.head;
  const size_t method_size = line.find(' ');
  const size_t version_at = line.rfind(' ');
  if (method_size == std::string_view::npos || method_size == version_at) {
    return refuse("bad_request_line");
  }
  head.method = line.substr(0, method_size);
  if (!is_token(head.method)) return refuse("bad_method");
  facts.request = kind_of_method(head.method);
  const std::string_view target = line.substr(method_size + 1, version_at - method_size - 1);
  const Verdict verdict = read_version(line.substr(version_at + 1), head.version);
  if (verdict.status == 505 && line == "PRI * HTTP/2.0") return {505, "h2_preface"};
  return verdict.is_refused() ? verdict : read_target(target, limits, memory);
}

Verdict read_host(const FieldSummary& summary, Head& head) {
  if (summary.host_count > 1) return refuse("two_hosts");
  if (summary.host_count == 0) {
    return head.version == Version::kHttp10 ? kAccepted : refuse("no_host");
  }
  // An empty Host is what RFC 9112 3.2 asks for when the target has no authority.
  if (!summary.host.empty()) {
    if (const char* fault = find_authority_fault(summary.host, PortRule::kOptional)) {
      return refuse(fault);
    }
  }
  if (head.authority.empty()) head.authority = summary.host;
  return kAccepted;
}

// Transfer-Encoding and Content-Length, alike for both kinds of message. Fills has_content_length
// and content_length; `is_chunked` where the body is chunked.
Verdict read_lengths(const FieldSummary& summary, Head& head, bool& is_chunked) {
  if (summary.transfer_encoding_count > 0) {
    const CodingList& codings = summary.codings;
    if (summary.content_length_count > 0) return refuse("cl_and_te");
    if (head.version == Version::kHttp10) return refuse("te_in_http10");
    if (codings.is_malformed || !codings.ends_in_chunked) return refuse("bad_transfer_encoding");
    if (codings.has_other) return {501, "unknown_coding"};
    is_chunked = true;
    return kAccepted;
  }
  if (summary.content_length_count == 0) return kAccepted;
  if (summary.content_length_count > 1) return refuse("repeated_content_length");
  if (!parse_length(summary.content_length, head.content_length)) {
    return refuse("bad_content_length");
  }
  head.has_content_length = true;
  return kAccepted;
}

bool keeps_alive(const FieldSummary& summary, Version version) {
  if (summary.has_close) return false;
  return version != Version::kHttp10 || summary.has_keep_alive;
}

// The Upgrade value that may be passed on: asked for by Connection, once, and nothing that would
// lead around policy (h2c).
std::string_view usable_upgrade(const FieldSummary& summary, Version version) {
  if (version == Version::kHttp10 || !summary.has_upgrade_option || summary.upgrade_count != 1) {
    return {};
  }
  std::string_view protocol;
  for (ListReader list{summary.upgrade}; list.next(protocol);) {
    const std::string_view name = protocol.substr(0, protocol.find('/'));
    const bool is_http =
        starts_with_ignoring_case(name, "h2") || equals_ignoring_case(name, "http");
    if (!is_token(name) || is_http) return {};
  }
  return summary.upgrade;
}

Verdict read_expect(const FieldSummary& summary, Head& head) {
  if (summary.expect_count == 0 || head.version == Version::kHttp10) return kAccepted;
  if (summary.expect_count > 1 || !equals_ignoring_case(summary.expect, "100-continue")) {
    return {417, "expectation"};
  }
  // Without a body there is nothing to wait for (RFC 9110 10.1.1).
  head.expect_continue = head.body != BodyKind::kNone;
  return kAccepted;
}

Verdict read_status_line(std::string_view line, Head& head) {
  const std::string_view version = line.substr(0, 8);
  if (const Verdict verdict = read_version(version, head.version); verdict.is_refused()) {
    return verdict;
  }
  const std::string_view rest = line.substr(8);
  if (rest.size() < 4 || rest[0] != ' ' || !is_digit(rest[1]) || !is_digit(rest[2]) ||
      !is_digit(rest[3])) {
    return refuse("bad_status");
  }
  head.status = static_cast<uint16_t>((rest[1] - '0') * 100 + (rest[2] - '0') * 10 + rest[3] - '0');
  if (head.status < 100 || head.status > 599) return refuse("bad_status");
  if (rest.size() == 4) return kAccepted;  // many servers leave out the blank with the reason
  if (rest[4] != ' ' || !is_field_value(rest.substr(5))) return refuse("bad_status");
  head.reason = rest.substr(5);
  return kAccepted;
}

// Every parser knows them, and none gives them a framing of their own.
bool is_usual_method(std::string_view method) {
  return method == "GET" || method == "POST" || method == "PUT" || method == "HEAD" ||
         method == "DELETE" || method == "PATCH" || method == "OPTIONS";
}

void choose_response_body(RequestKind request, bool is_chunked, Head& head) {
  const bool is_success = head.status / 100 == 2;
  if (head.status == 101 || (request == RequestKind::kConnect && is_success)) {
    head.body = BodyKind::kTunnel;
  } else if (request == RequestKind::kHead || head.status == 304) {
    head.body = BodyKind::kNone;
    return;  // only these keep a length without a body
  } else if (head.status < 200 || head.status == 204) {
    head.body = BodyKind::kNone;
  } else if (is_chunked) {
    head.body = BodyKind::kStreaming;
  } else if (head.has_content_length) {
    head.body = head.content_length > 0 ? BodyKind::kLength : BodyKind::kNone;
    return;
  } else {
    head.body = BodyKind::kUntilClose;
  }
  head.has_content_length = false;
  head.content_length = 0;
}

}  // namespace

RequestKind kind_of_method(std::string_view method) {
  if (method == "HEAD") return RequestKind::kHead;
  return method == "CONNECT" ? RequestKind::kConnect : RequestKind::kOrdinary;
}

Verdict check_request_line(std::string_view line, const H1Limits& limits, HeadMemory& memory) {
  memory.head = Head{};
  HeadFacts unused;
  return read_request_line(without_line_end(line), limits, memory, unused);
}

Verdict check_status_line(std::string_view line, HeadMemory& memory) {
  memory.head = Head{};
  return read_status_line(without_line_end(line), memory.head);
}

Verdict read_request_head(std::string_view bytes, const H1Limits& limits, HeadMemory& memory,
                          HeadFacts& facts) {
  Head& head = memory.head;
  head = Head{};
  facts = HeadFacts{};
  FieldSummary summary;
  std::string_view rest = bytes;
  const std::string_view line = take_start_line(rest, facts);
  Verdict verdict = read_request_line(line, limits, memory, facts);
  if (verdict.is_refused()) return verdict;
  verdict = read_fields(rest, limits.field_count_max, Section::kRequestHead, memory, summary);
  if (verdict.is_refused()) return verdict;
  facts.head_bytes = bytes.size() - rest.size();
  const bool is_origin_form = line[head.method.size() + 1] == '/';
  facts.is_plain = summary.is_plain && is_usual_method(head.method) && is_origin_form;
  verdict = read_host(summary, head);
  if (verdict.is_refused()) return verdict;
  verdict = read_lengths(summary, head, facts.is_chunked);
  if (verdict.is_refused()) return verdict;

  if (facts.is_chunked) head.body = BodyKind::kStreaming;
  if (head.content_length > 0) head.body = BodyKind::kLength;
  // RFC 9110 9.3.6 gives such a body no meaning; what follows would be read as body by one side and
  // as tunnel by another.
  if (facts.request == RequestKind::kConnect && head.body != BodyKind::kNone) {
    return refuse("connect_with_body");
  }
  head.upgrade = usable_upgrade(summary, head.version);
  head.accepts_trailers = summary.accepts_trailers && head.version == Version::kHttp11;
  facts.accepts_trailers = head.accepts_trailers;
  facts.keep_alive = keeps_alive(summary, head.version);
  verdict = read_expect(summary, head);
  facts.expects_continue = head.expect_continue;
  return verdict;
}

Verdict read_response_head(std::string_view bytes, const H1Limits& limits, RequestKind request,
                           bool is_upgrade_asked, HeadMemory& memory, HeadFacts& facts) {
  Head& head = memory.head;
  head = Head{};
  facts = HeadFacts{};
  facts.request = request;
  FieldSummary summary;
  std::string_view rest = bytes;
  Verdict verdict = read_status_line(take_start_line(rest, facts), head);
  if (verdict.is_refused()) return verdict;
  verdict = read_fields(rest, limits.field_count_max, Section::kResponseHead, memory, summary);
  if (verdict.is_refused()) return verdict;
  facts.head_bytes = bytes.size() - rest.size();
  facts.is_plain = summary.is_plain;
  verdict = read_lengths(summary, head, facts.is_chunked);
  if (verdict.is_refused()) return verdict;

  choose_response_body(request, facts.is_chunked, head);
  if (head.status == 101 || head.status == 426)
    head.upgrade = usable_upgrade(summary, head.version);
  if (head.status == 101 && (!is_upgrade_asked || head.upgrade.empty())) {
    return refuse("unexpected_101");
  }
  facts.keep_alive = keeps_alive(summary, head.version) && head.body != BodyKind::kUntilClose;
  return kAccepted;
}

}  // namespace np::http
