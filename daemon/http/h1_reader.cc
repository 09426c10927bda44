// SPDX-License-Identifier: Apache-2.0
#include "http/h1_reader.h"

#include <algorithm>

namespace np::http {
namespace {

// A start line is at most its target and this much: method, blanks, version, CRLF.
constexpr size_t kStartLineSlackBytes = 64;
// A section that comes in pieces is gathered in steps of this size, so that little of what follows
// it is copied in vain.
constexpr size_t kGatherBytes = 1024;
// An origin that sends interim answers without end is cut off.
constexpr uint32_t kInterimMax = 64;
constexpr uint16_t kBadGateway = 502;
constexpr size_t kBlankLineBytes = 2;

size_t start_line_bytes_max(const H1Limits& limits) {
  return limits.target_bytes_max + kStartLineSlackBytes;
}

}  // namespace

H1Reader::H1Reader(Role role, const H1Limits& limits)
    : limits_(limits), role_(role), parser_(role) {
  begin_head();
}

void H1Reader::begin(StreamId stream, RequestKind request, bool is_upgrade_asked) {
  stream_ = stream;
  request_ = request;
  is_upgrade_asked_ = is_upgrade_asked;
  is_head_done_ = false;
  becomes_tunnel_ = false;
  version_ = Version::kHttp11;
  interim_count_ = 0;
  facts_ = HeadFacts{};
  facts_.request = request;
  begin_head();
}

void H1Reader::begin_head() {
  state_ = State::kHead;
  is_start_line_checked_ = false;
  HeadScanner::Limits limits;
  const bool is_server = role_ == Role::kServer;
  limits.start_line =
      is_server ? HeadScanner::StartLine::kRequest : HeadScanner::StartLine::kStatus;
  limits.method_bytes_max = limits_.method_bytes_max;
  limits.empty_lines_max = is_server ? limits_.empty_lines_max : 0;
  limits.start_line_bytes_max = start_line_bytes_max(limits_);
  limits.field_bytes_max = limits_.head_bytes_max;
  limits.field_count_max = limits_.field_count_max;
  scanner_.begin(limits);
}

void H1Reader::begin_trailers() {
  state_ = State::kTrailers;
  HeadScanner::Limits limits;
  limits.start_line = HeadScanner::StartLine::kNone;
  limits.field_bytes_max = limits_.trailer_bytes_max;
  limits.field_count_max = limits_.field_count_max;
  scanner_.begin(limits);
}

size_t H1Reader::read(std::string_view in, StreamEventList& out) {
  size_t used = 0;
  while (used < in.size()) {
    const std::string_view rest = in.substr(used);
    switch (state_) {
      case State::kHead:
      case State::kTrailers:
        used += partial_ == nullptr ? read_section(rest, out) : read_partial_section(rest, out);
        break;
      case State::kCounted:
        used += read_counted(rest, out);
        break;
      case State::kChunked:
        used += read_chunked(rest, out);
        break;
      case State::kUntilClose:
      case State::kTunnel:
        emit_data(rest, out);
        return in.size();
      case State::kEnded:
      case State::kFailed:
        return used;
    }
  }
  return used;
}

// ---- heads and trailer sections ----------------------------------------------------------------

Verdict H1Reader::read_head(std::string_view bytes, HeadMemory& memory, HeadFacts& facts) const {
  if (role_ == Role::kServer) return read_request_head(bytes, limits_, memory, facts);
  return read_response_head(bytes, limits_, request_, is_upgrade_asked_, memory, facts);
}

// Nearly every head comes whole and is right: looked at once, without searching for its end first.
// 0: it is not so, and the scanner has to say what is wrong, and at which byte.
size_t H1Reader::read_at_once(std::string_view in, StreamEventList& out) {
  std::unique_ptr<HeadMemory> memory = HeadMemoryChain::take();
  HeadFacts facts;
  const Verdict verdict = read_head(in, *memory, facts);
  const size_t line = facts.start_line_bytes;
  const bool is_right = !verdict.is_refused() && line <= start_line_bytes_max(limits_) &&
                        memory->head.method.size() <= limits_.method_bytes_max &&
                        facts.head_bytes - line - kBlankLineBytes <= limits_.head_bytes_max;
  if (!is_right) {
    HeadMemoryChain::give(std::move(memory));
    return 0;
  }
  HeadMemory& section = *memory;
  held_.hold(std::move(memory));
  facts_ = facts;
  on_head(in.substr(0, facts.head_bytes), section, out);
  return facts.head_bytes;
}

size_t H1Reader::read_section(std::string_view in, StreamEventList& out) {
  if (state_ == State::kHead) {
    if (const size_t used = read_at_once(in, out); used > 0) return used;
  }
  const ScanResult result = scanner_.scan(in);
  if (result == ScanResult::kComplete) {
    const size_t start = scanner_.start();
    const size_t end = scanner_.end();
    on_section(in.substr(start, end - start), HeadMemoryChain::take(), out);
    return end;
  }
  if (refuse_start_line(in, out)) return in.size();
  if (result != ScanResult::kMore) {
    refuse_section(result, out);
  } else if (!scanner_.has_content(in)) {
    scanner_.forget_prefix();
  } else {
    partial_ = HeadMemoryChain::take();
    partial_->bytes.assign(in);
  }
  return in.size();
}

size_t H1Reader::read_partial_section(std::string_view in, StreamEventList& out) {
  size_t used = 0;
  while (used < in.size()) {
    const size_t had = partial_->bytes.size();
    const std::string_view piece = in.substr(used, kGatherBytes);
    partial_->bytes.append(piece);
    const std::string_view bytes = partial_->bytes;
    const ScanResult result = scanner_.scan(bytes);
    if (result == ScanResult::kComplete) {
      const size_t start = scanner_.start();
      const size_t end = scanner_.end();
      on_section(bytes.substr(start, end - start), std::move(partial_), out);
      return used + end - had;
    }
    used += piece.size();
    if (refuse_start_line(bytes, out)) return used;
    if (result != ScanResult::kMore) {
      refuse_section(result, out);
      return used;
    }
  }
  if (!scanner_.has_content(partial_->bytes)) {
    scanner_.forget_prefix();
    HeadMemoryChain::give(std::move(partial_));
  }
  return used;
}

// A line that is none is refused when its end has come, not when the head's has. Where more is
// wrong the first line counts, as in a head that comes whole.
bool H1Reader::refuse_start_line(std::string_view bytes, StreamEventList& out) {
  const size_t end = scanner_.start_line_end();
  if (end == 0 || is_start_line_checked_) return false;
  is_start_line_checked_ = true;
  const std::string_view line = bytes.substr(scanner_.start(), end - scanner_.start());
  std::unique_ptr<HeadMemory> memory = HeadMemoryChain::take();
  const Verdict verdict = role_ == Role::kServer ? check_request_line(line, limits_, *memory)
                                                 : check_status_line(line, *memory);
  HeadMemoryChain::give(std::move(memory));
  if (verdict.is_refused()) fail(verdict.status, verdict.detail, out);
  return verdict.is_refused();
}

void H1Reader::refuse_section(ScanResult result, StreamEventList& out) {
  const bool is_head = state_ == State::kHead;
  switch (result) {
    case ScanResult::kBareLf:
      return fail(400, "bare_lf", out);
    case ScanResult::kTooManyEmptyLines:
      return fail(400, "empty_lines", out);
    case ScanResult::kBadMethod:
      return fail(400, "bad_method", out);
    case ScanResult::kMethodTooLong:
      return fail(400, "method_too_long", out);
    case ScanResult::kBadRequestLine:
      return fail(400, "bad_request_line", out);
    case ScanResult::kBadVersion:
      return fail(400, "bad_version", out);
    case ScanResult::kStartLineTooLong:
      return fail(414, "start_line_too_long", out);
    case ScanResult::kFieldsTooLarge:
      return is_head ? fail(431, "head_too_large", out) : fail(400, "trailers_too_large", out);
    case ScanResult::kTooManyFields:
      return is_head ? fail(431, "too_many_fields", out) : fail(400, "too_many_trailers", out);
    case ScanResult::kMore:
    case ScanResult::kComplete:
      return;
  }
}

void H1Reader::on_section(std::string_view bytes, std::unique_ptr<HeadMemory> memory,
                          StreamEventList& out) {
  HeadMemory& section = *memory;
  held_.hold(std::move(memory));
  if (state_ == State::kTrailers) return on_trailers(bytes, section, out);
  const Verdict verdict = read_head(bytes, section, facts_);
  version_ = section.head.version;
  if (verdict.is_refused()) return fail(verdict.status, verdict.detail, out);
  on_head(bytes, section, out);
}

void H1Reader::on_head(std::string_view bytes, HeadMemory& memory, StreamEventList& out) {
  const Head& head = memory.head;
  version_ = head.version;
  if (!facts_.is_plain) {
    const char* const fault =
        parser_.confirm_head(bytes, head, facts_.is_chunked, limits_.chunk_extension_bytes_max);
    if (fault != nullptr) return fail(400, fault, out);
  }
  if (role_ == Role::kClient && head.status < 200 && head.status != 101) {
    if (++interim_count_ > kInterimMax) return fail(400, "too_many_interim_answers", out);
    emit(StreamEvent::Kind::kInterim, &head, out);
    return begin_head();
  }
  is_head_done_ = true;
  emit(StreamEvent::Kind::kHead, &head, out);
  begin_body(head, out);
}

void H1Reader::begin_body(const Head& head, StreamEventList& out) {
  switch (head.body) {
    case BodyKind::kNone:
      return end(out);
    case BodyKind::kLength:
      state_ = State::kCounted;
      left_bytes_ = head.content_length;
      return;
    case BodyKind::kStreaming:
      state_ = State::kChunked;
      return;
    case BodyKind::kUntilClose:
      state_ = State::kUntilClose;
      return;
    case BodyKind::kTunnel:
      state_ = State::kTunnel;
      return;
  }
}

void H1Reader::on_trailers(std::string_view bytes, HeadMemory& memory, StreamEventList& out) {
  FieldSummary unused;
  const Verdict verdict =
      read_fields(bytes, limits_.field_count_max, Section::kTrailers, memory, unused);
  if (verdict.is_refused()) return fail(verdict.status, verdict.detail, out);
  if (!memory.fields.empty()) emit(StreamEvent::Kind::kTrailers, &memory.head, out);
  end(out);
}

// ---- bodies ------------------------------------------------------------------------------------

size_t H1Reader::read_counted(std::string_view in, StreamEventList& out) {
  const std::string_view data = in.substr(0, std::min<uint64_t>(left_bytes_, in.size()));
  left_bytes_ -= data.size();
  emit_data(data, out);
  if (left_bytes_ == 0) end(out);
  return data.size();
}

size_t H1Reader::read_chunked(std::string_view in, StreamEventList& out) {
  const H1Parser::Step step = parser_.read_chunked(in);
  emit_data(step.data, out);
  if (step.found == H1Parser::Found::kFault) {
    fail(400, parser_.fault(), out);
    return in.size();
  }
  if (step.found == H1Parser::Found::kLastChunk) begin_trailers();
  return step.used;
}

bool H1Reader::finish(StreamEventList& out) {
  switch (state_) {
    case State::kUntilClose:
      end(out);
      return true;
    case State::kTunnel:
      emit(StreamEvent::Kind::kEnd, nullptr, out);
      state_ = State::kFailed;  // nothing can follow a FIN
      return true;
    case State::kEnded:
    case State::kFailed:
      return true;
    case State::kHead:
    case State::kCounted:
    case State::kChunked:
    case State::kTrailers:
      break;
  }
  const bool is_known = role_ == Role::kClient || is_head_done_;
  if (is_known) {
    reset(ResetReason::kPeerClosed, role_ == Role::kClient ? kBadGateway : 400, "truncated", out);
  }
  fail_quietly();
  return false;
}

void H1Reader::fail_quietly() {
  state_ = State::kFailed;
  partial_.reset();
}

void H1Reader::start_tunnel() {
  becomes_tunnel_ = true;
  if (state_ == State::kEnded) state_ = State::kTunnel;
}

// ---- events ------------------------------------------------------------------------------------

void H1Reader::end(StreamEventList& out) {
  emit(StreamEvent::Kind::kEnd, nullptr, out);
  state_ = becomes_tunnel_ ? State::kTunnel : State::kEnded;
}

void H1Reader::emit(StreamEvent::Kind kind, const Head* head, StreamEventList& out) const {
  StreamEvent& event = out.emplace_back();
  event.kind = kind;
  event.stream = stream_;
  event.head = head;
}

void H1Reader::emit_data(std::string_view data, StreamEventList& out) const {
  if (data.empty()) return;
  emit(StreamEvent::Kind::kData, nullptr, out);
  out.back().data = data;
}

void H1Reader::fail(uint16_t status, const char* detail, StreamEventList& out) {
  if (role_ == Role::kClient) return reset(ResetReason::kProtocolError, kBadGateway, detail, out);
  if (is_head_done_) return reset(ResetReason::kProtocolError, status, detail, out);
  emit(StreamEvent::Kind::kRefused, nullptr, out);
  out.back().answer_status = status;
  out.back().detail = detail;
  fail_quietly();
}

void H1Reader::reset(ResetReason reason, uint16_t status, const char* detail,
                     StreamEventList& out) {
  emit(StreamEvent::Kind::kReset, nullptr, out);
  out.back().reset = reason;
  out.back().answer_status = status;
  out.back().detail = detail;
  fail_quietly();
}

}  // namespace np::http
