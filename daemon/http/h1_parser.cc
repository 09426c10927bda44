// SPDX-License-Identifier: Apache-2.0
#include "http/h1_parser.h"

#include <llhttp.h>

#include <utility>

#include "base/ascii.h"
#include "http/thread_cache.h"

namespace np::http {
namespace {

using ParserCache = ThreadCache<llhttp_t, kSpareCodecs>;

constexpr uint8_t kChunkDigitsMax = 16;

// Also bytes above ASCII: llhttp takes them or not, depending on how the input was cut.
bool is_illegal(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return (byte < 0x20 && byte != '\t') || byte >= 0x7f;
}

}  // namespace

// ---- ChunkLineGuard --------------------------------------------------------------------------

void ChunkLineGuard::begin_message(size_t extension_bytes_max) {
  extension_bytes_ = 0;
  extension_bytes_max_ = extension_bytes_max;
  begin_line();
}

void ChunkLineGuard::begin_line() {
  place_ = Place::kDigits;
  digits_ = 0;
}

const char* ChunkLineGuard::check(std::string_view bytes) {
  for (const char c : bytes) {
    if (const char* fault = check_byte(c)) return fault;
  }
  return nullptr;
}

const char* ChunkLineGuard::check_byte(char c) {
  constexpr const char* kBadLine = "bad_chunk_size";
  switch (place_) {
    case Place::kDigits:
      if (is_hex_digit(c)) return ++digits_ > kChunkDigitsMax ? kBadLine : nullptr;
      if (digits_ == 0 || (c != '\r' && c != ';')) return kBadLine;
      place_ = c == '\r' ? Place::kAfterCr : Place::kExtension;
      return nullptr;
    case Place::kExtension:
      if (c == '\r') {
        place_ = Place::kAfterCr;
        return nullptr;
      }
      if (is_illegal(c)) return kBadLine;
      return ++extension_bytes_ > extension_bytes_max_ ? "chunk_extensions_too_long" : nullptr;
    case Place::kAfterCr:
      place_ = Place::kDone;
      return c == '\n' ? nullptr : kBadLine;
    case Place::kDone:
      break;
  }
  return kBadLine;
}

// ---- llhttp ----------------------------------------------------------------------------------

struct H1Parser::Callbacks {
  static H1Parser& self(llhttp_t* llhttp) { return *static_cast<H1Parser*>(llhttp->data); }

  static int on_headers_complete(llhttp_t* llhttp) {
    H1Parser& parser = self(llhttp);
    parser.is_head_seen_ = true;
    return parser.is_bodiless_ ? 1 : 0;  // 1: no body, whatever the fields say
  }
  static int on_body(llhttp_t* llhttp, const char* at, size_t size) {
    self(llhttp).data_ = {at, size};
    return 0;
  }
  static int stop_at(llhttp_t* llhttp, Stop stop) {
    self(llhttp).stop_ = stop;
    return HPE_PAUSED;
  }
  static int on_chunk_header(llhttp_t* llhttp) { return stop_at(llhttp, Stop::kChunkLine); }
  static int on_chunk_complete(llhttp_t* llhttp) { return stop_at(llhttp, Stop::kChunkEnd); }
  static int on_message_complete(llhttp_t* llhttp) { return stop_at(llhttp, Stop::kMessageEnd); }

  static llhttp_settings_t make() {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_headers_complete = on_headers_complete;
    settings.on_body = on_body;
    settings.on_chunk_header = on_chunk_header;
    settings.on_chunk_complete = on_chunk_complete;
    settings.on_message_complete = on_message_complete;
    return settings;
  }
  static const llhttp_settings_t kSettings;
};

const llhttp_settings_t H1Parser::Callbacks::kSettings = H1Parser::Callbacks::make();

H1Parser::H1Parser(Role reads_as) : role_(reads_as) {}
H1Parser::~H1Parser() {
  if (llhttp_ != nullptr) ParserCache::give(std::move(llhttp_));
}

void H1Parser::begin_head(bool is_chunked, bool has_framed_body, size_t extension_bytes_max) {
  const bool is_request = role_ == Role::kServer;
  if (llhttp_ == nullptr) llhttp_ = ParserCache::take();
  llhttp_init(llhttp_.get(), is_request ? HTTP_REQUEST : HTTP_RESPONSE, &Callbacks::kSettings);
  llhttp_->data = this;
  fault_ = nullptr;
  stop_ = Stop::kNone;
  data_ = {};
  is_head_seen_ = false;
  is_bodiless_ = !has_framed_body;
  is_in_chunk_line_ = is_chunked;
  guard_.begin_message(extension_bytes_max);
}

const char* H1Parser::confirm_head(std::string_view bytes, const Head& head, bool is_chunked,
                                   size_t extension_bytes_max) {
  const bool has_framed_body = head.body == BodyKind::kLength || head.body == BodyKind::kStreaming;
  begin_head(is_chunked, has_framed_body, extension_bytes_max);
  const llhttp_errno_t error = llhttp_execute(llhttp_.get(), bytes.data(), bytes.size());
  const char* const end = bytes.data() + bytes.size();
  if (error == HPE_INVALID_METHOD) return "unknown_method";
  const bool has_ended = error == HPE_PAUSED && stop_ == Stop::kMessageEnd;
  const bool has_stopped = has_ended || error == HPE_PAUSED_UPGRADE;
  if (!is_head_seen_ || (error != HPE_OK && !has_stopped)) return "llhttp_refuses";
  if (has_stopped && llhttp_get_error_pos(llhttp_.get()) != end) {
    return "parsers_differ";
  }
  // With a body to come llhttp must wait for it, and expect the same framing.
  if (has_framed_body == has_stopped) return "parsers_differ";
  if (role_ == Role::kClient && llhttp_->status_code != head.status) return "parsers_differ";
  if (!has_framed_body) return nullptr;
  if (((llhttp_->flags & F_CHUNKED) != 0) != is_chunked) return "parsers_differ";
  if (!is_chunked && llhttp_->content_length != head.content_length) return "parsers_differ";
  return nullptr;
}

H1Parser::Step H1Parser::fail(const char* fault) {
  fault_ = fault;
  return {Found::kFault, 0, data_};  // bytes before the fault count: they may have come earlier
}

H1Parser::Step H1Parser::read_chunked(std::string_view in) {
  stop_ = Stop::kNone;
  data_ = {};
  const llhttp_errno_t error = llhttp_execute(llhttp_.get(), in.data(), in.size());
  Step step;
  step.used = in.size();
  if (error != HPE_OK) {
    const char* const position = llhttp_get_error_pos(llhttp_.get());
    step.used = position == nullptr ? 0 : static_cast<size_t>(position - in.data());
  }
  const bool has_failed = error != HPE_OK && (error != HPE_PAUSED || stop_ == Stop::kNone);
  if (is_in_chunk_line_) {
    // The guard sees what llhttp used and no byte more, so that the same rule is named however the
    // input was cut.
    if (const char* fault = guard_.check(in.substr(0, step.used))) return fail(fault);
  }
  if (has_failed) return fail(is_in_chunk_line_ ? "bad_chunk_size" : "bad_chunk_end");
  step.data = data_;
  if (error == HPE_OK) return step;

  llhttp_resume(llhttp_.get());
  step.found = Found::kPart;
  if (stop_ == Stop::kChunkLine) {
    is_in_chunk_line_ = false;
    if (llhttp_->content_length == 0) step.found = Found::kLastChunk;
  } else {
    is_in_chunk_line_ = true;
    guard_.begin_line();
  }
  return step;
}

}  // namespace np::http
