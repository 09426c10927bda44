// SPDX-License-Identifier: Apache-2.0
// HttpReader: a small strict reader of HTTP/1 messages for the simulation's peers, written apart
// from the product's codec so that the two cannot share a mistake. Names the first thing that is
// wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace np::sim {

struct HttpMessage {
  std::string start;                                        // start line
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
  std::string body;
  int status = 0;
  bool until_close = false;
  const std::string* find(std::string_view name) const;
};

class HttpReader {
 public:
  enum class Role : uint8_t { kRequests, kResponses };
  enum class State : uint8_t { kHead, kLength, kChunkSize, kChunkData, kTrailers, kUntilClose };

  explicit HttpReader(Role role) : role_(role) {}

  // Takes bytes; returns false when the message breaks the rules (see error()).
  bool feed(std::string_view bytes);
  // The peer ended its direction: completes an until-close body.
  void finish();
  // A complete message, once.
  bool take(HttpMessage& out);
  bool has_head() const { return state_ != State::kHead; }
  const HttpMessage& current() const { return message_; }
  bool is_idle() const { return state_ == State::kHead && buffer_.empty() && !complete_; }
  // Responses: the next one answers HEAD.
  void expect_head_response(bool yes) { head_response_ = yes; }
  const std::string& error() const { return error_; }
  const std::string& buffered() const { return buffer_; }

 private:
  bool advance();
  bool parse_head(std::string_view head);
  bool fail(std::string_view what);
  bool take_line(std::string& line);

  Role role_;
  State state_ = State::kHead;
  std::string buffer_;
  HttpMessage message_;
  uint64_t left_ = 0;
  bool complete_ = false;
  bool head_response_ = false;
  std::string error_;
};

}  // namespace np::sim
