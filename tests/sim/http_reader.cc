// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/http_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace np::sim {
namespace {

// The whole text as a number; UINT64_MAX, which no body has, when it is none.
uint64_t number(std::string_view text, int base) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, base);
  return error == std::errc() && rest == end ? value : UINT64_MAX;
}

}  // namespace

const std::string* HttpMessage::find(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool HttpReader::fail(std::string_view what) {
  if (error_.empty()) error_ = what;
  return false;
}

bool HttpReader::take_line(std::string& line) {
  const size_t end = buffer_.find("\r\n");
  if (end == std::string::npos) return false;
  line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return true;
}

bool HttpReader::feed(std::string_view bytes) {
  if (!error_.empty()) return false;
  buffer_.append(bytes);
  while (!complete_ && advance()) {
  }
  return error_.empty();
}

bool HttpReader::take(HttpMessage& out) {
  if (!complete_) return false;
  out = std::move(message_);
  message_ = {};
  complete_ = false;
  state_ = State::kHead;
  return true;
}

void HttpReader::finish() {
  if (state_ == State::kUntilClose) complete_ = true;
}

bool HttpReader::parse_head(std::string_view head) {
  size_t at = head.find("\r\n");
  message_.start = head.substr(0, at);
  while (at + 2 < head.size()) {
    const size_t end = head.find("\r\n", at + 2);
    const std::string_view line = head.substr(at + 2, end - at - 2);
    const size_t colon = line.find(": ");
    if (colon == std::string_view::npos) return fail("field line without colon and blank");
    std::string name(line.substr(0, colon));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    message_.fields.emplace_back(std::move(name), line.substr(colon + 2));
    at = end;
  }
  const std::string* length = message_.find("content-length");
  const std::string* coding = message_.find("transfer-encoding");
  if (length != nullptr && coding != nullptr) return fail("both framings");
  bool bodiless = false;
  if (role_ == Role::kResponses) {
    if (!message_.start.starts_with("HTTP/1.")) return fail("bad status line");
    message_.status = static_cast<int>(number(std::string_view(message_.start).substr(9, 3), 10));
    bodiless =
        head_response_ || message_.status == 204 || message_.status == 304 || message_.status < 200;
  } else if (!message_.start.ends_with(" HTTP/1.1")) {
    return fail("bad request line");
  }
  if (bodiless) {
    complete_ = true;
  } else if (coding != nullptr) {
    if (*coding != "chunked") return fail("unknown coding");
    state_ = State::kChunkSize;
  } else if (length != nullptr) {
    left_ = number(*length, 10);
    state_ = State::kLength;
    complete_ = left_ == 0;
  } else if (role_ == Role::kResponses) {
    message_.until_close = true;
    state_ = State::kUntilClose;
  } else {
    complete_ = true;
  }
  return true;
}

bool HttpReader::advance() {
  std::string line;
  switch (state_) {
    case State::kHead: {
      const size_t end = buffer_.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      const std::string head = buffer_.substr(0, end + 2);
      buffer_.erase(0, end + 4);
      return parse_head(head);
    }
    case State::kLength:
    case State::kChunkData: {
      if (buffer_.empty()) return false;
      const size_t n = std::min<size_t>(left_, buffer_.size());
      message_.body.append(buffer_, 0, n);
      buffer_.erase(0, n);
      left_ -= n;
      if (left_ > 0) return false;
      if (state_ == State::kLength) {
        complete_ = true;
        return true;
      }
      if (buffer_.size() < 2) {
        left_ = 0;
        if (buffer_.size() == 1 && buffer_[0] != '\r') return fail("chunk end");
        return false;
      }
      if (!buffer_.starts_with("\r\n")) return fail("chunk end");
      buffer_.erase(0, 2);
      state_ = State::kChunkSize;
      return true;
    }
    case State::kChunkSize:
      if (!take_line(line)) return false;
      if (line.empty() || line.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
        return fail("chunk size");
      }
      left_ = number(line, 16);
      state_ = left_ == 0 ? State::kTrailers : State::kChunkData;
      return true;
    case State::kTrailers:
      if (!take_line(line)) return false;
      if (line.empty()) complete_ = true;
      return true;
    case State::kUntilClose:
      message_.body.append(buffer_);
      buffer_.clear();
      return false;
  }
  return false;
}

}  // namespace np::sim
