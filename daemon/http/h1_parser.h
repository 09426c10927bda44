// SPDX-License-Identifier: Apache-2.0
// H1Parser: llhttp 8.1 behind a narrow interface. It confirms what h1_head.cc made of a head that
// is not plain (a message on which two parsers differ is refused; decision 0016), and frames
// chunked bodies. Chunk-size lines get a check of our own beside it, because llhttp bounds neither
// their zeros nor their extensions. Owned by an H1Reader. Built with LLHTTP_STRICT_MODE=1; all
// lenient flags stay 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "http/codec.h"

struct llhttp__internal_s;  // llhttp_t

namespace np::http {

// The extensions and digits of chunk-size lines, over all chunks of one message.
class ChunkLineGuard {
 public:
  void begin_message(size_t extension_bytes_max);
  void begin_line();
  // Null, or the rule that was broken.
  const char* check(std::string_view bytes);

 private:
  enum class Place : uint8_t { kDigits, kExtension, kAfterCr, kDone };
  const char* check_byte(char c);

  Place place_ = Place::kDigits;
  uint8_t digits_ = 0;
  size_t extension_bytes_ = 0;
  size_t extension_bytes_max_ = 0;
};

class H1Parser {
 public:
  explicit H1Parser(Role reads_as);
  ~H1Parser();
  H1Parser(const H1Parser&) = delete;
  H1Parser& operator=(const H1Parser&) = delete;

  // Parses a whole head. Null when llhttp reads it exactly as `head` says; if it is chunked,
  // read_chunked() may follow. `is_chunked`: as h1_head.cc found.
  const char* confirm_head(std::string_view bytes, const Head& head, bool is_chunked,
                           size_t extension_bytes_max);

  enum class Found : uint8_t {
    kMore,       // all bytes used
    kPart,       // go on with the rest
    kLastChunk,  // the zero chunk's line is past; the trailer section follows
    kFault,      // see fault()
  };
  struct Step {
    Found found = Found::kMore;
    size_t used = 0;
    std::string_view data;  // body bytes among the used ones
  };
  Step read_chunked(std::string_view in);
  const char* fault() const { return fault_; }

 private:
  struct Callbacks;
  enum class Stop : uint8_t { kNone, kChunkLine, kChunkEnd, kMessageEnd };

  void begin_head(bool is_chunked, bool has_framed_body, size_t extension_bytes_max);
  Step fail(const char* fault);

  std::unique_ptr<llhttp__internal_s> llhttp_;  // null until it is asked
  ChunkLineGuard guard_;
  Role role_;
  bool is_head_seen_ = false;
  bool is_bodiless_ = false;
  bool is_in_chunk_line_ = false;
  Stop stop_ = Stop::kNone;
  std::string_view data_;
  const char* fault_ = nullptr;
};

}  // namespace np::http
