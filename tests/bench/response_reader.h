// SPDX-License-Identifier: Apache-2.0
// ResponseReader: follows one HTTP/1.1 response after another on a connection, just enough for a
// load generator: status, end of the body (Content-Length, chunked, until close), Connection:
// close.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace np::bench {

class ResponseReader {
 public:
  enum class State : uint8_t { kMore, kComplete, kBroken };

  // Begins a response; `head_request` says that no body follows.
  void start(bool head_request);
  // Uses bytes until the response is complete; `used` says how many. Bytes after it are not used.
  State on_bytes(std::string_view bytes, size_t& used);
  // The peer closed: complete only for a body that lasts until close.
  State on_close();

  bool began() const { return !head_.empty() || status_ != 0; }
  int status() const { return status_; }
  bool closes() const { return closes_; }
  uint64_t body_bytes() const { return body_bytes_; }

 private:
  enum class Phase : uint8_t {
    kHead,
    kLength,
    kChunkSize,
    kChunkData,
    kTrailers,
    kUntilClose,
    kDone
  };
  State parse_head();
  State on_chunked(std::string_view bytes, size_t& used);
  bool take_line(std::string_view bytes, size_t& used, std::string_view& line);

  Phase phase_ = Phase::kHead;
  bool head_request_ = false;
  bool closes_ = false;
  int status_ = 0;
  uint64_t remaining_ = 0;
  uint64_t body_bytes_ = 0;
  std::string head_;
  std::string line_;
};

}  // namespace np::bench
