// SPDX-License-Identifier: Apache-2.0
#include "response_reader.h"

#include <algorithm>
#include <charconv>

namespace np::bench {
namespace {

constexpr size_t kHeadMax = 128 * 1024;
constexpr size_t kLineMax = 8 * 1024;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

// Value of a field in a lower-case head, without blanks at the ends; empty when absent.
std::string_view field(std::string_view head, std::string_view name) {
  const std::string needle = "\r\n" + std::string(name) + ":";
  const size_t at = head.find(needle);
  if (at == std::string_view::npos) return {};
  std::string_view value = head.substr(at + needle.size());
  value = value.substr(0, value.find("\r\n"));
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  return value;
}

}  // namespace

void ResponseReader::start(bool head_request) {
  *this = ResponseReader();
  head_request_ = head_request;
}

ResponseReader::State ResponseReader::parse_head() {
  const std::string head = lower(head_);
  if (head.size() < 12 || head.compare(0, 7, "http/1.") != 0) return State::kBroken;
  std::from_chars(head.data() + 9, head.data() + 12, status_);
  if (status_ >= 100 && status_ < 200 && status_ != 101) {  // interim: the real one follows
    head_.clear();
    status_ = 0;
    return State::kMore;
  }
  closes_ = field(head, "connection").find("close") != std::string_view::npos;
  const std::string_view length = field(head, "content-length");
  const bool no_body = head_request_ || status_ == 204 || status_ == 304;
  if (no_body) {
    phase_ = Phase::kDone;
  } else if (field(head, "transfer-encoding") == "chunked") {
    phase_ = Phase::kChunkSize;
  } else if (!length.empty()) {
    std::from_chars(length.data(), length.data() + length.size(), remaining_);
    phase_ = remaining_ == 0 ? Phase::kDone : Phase::kLength;
  } else {
    closes_ = true;
    phase_ = Phase::kUntilClose;
  }
  return phase_ == Phase::kDone ? State::kComplete : State::kMore;
}

ResponseReader::State ResponseReader::on_bytes(std::string_view bytes, size_t& used) {
  used = 0;
  while (phase_ == Phase::kHead && used < bytes.size()) {
    head_ += bytes[used++];
    if (head_.size() > kHeadMax) return State::kBroken;
    if (head_.size() >= 4 && head_.compare(head_.size() - 4, 4, "\r\n\r\n") == 0) {
      const State state = parse_head();
      if (state != State::kMore) return state;
    }
  }
  if (phase_ == Phase::kUntilClose) {
    body_bytes_ += bytes.size() - used;
    used = bytes.size();
  } else if (phase_ == Phase::kLength) {
    const size_t take = std::min<uint64_t>(remaining_, bytes.size() - used);
    used += take;
    remaining_ -= take;
    body_bytes_ += take;
    if (remaining_ == 0) phase_ = Phase::kDone;
  } else if (phase_ != Phase::kHead && phase_ != Phase::kDone) {
    return on_chunked(bytes, used);
  }
  return phase_ == Phase::kDone ? State::kComplete : State::kMore;
}

bool ResponseReader::take_line(std::string_view bytes, size_t& used, std::string_view& line) {
  while (used < bytes.size()) {
    line_ += bytes[used++];
    if (line_.size() >= 2 && line_.compare(line_.size() - 2, 2, "\r\n") == 0) {
      line_.resize(line_.size() - 2);
      line = line_;
      return true;
    }
  }
  return false;
}

ResponseReader::State ResponseReader::on_chunked(std::string_view bytes, size_t& used) {
  std::string_view line;
  while (used < bytes.size() && phase_ != Phase::kDone) {
    if (phase_ == Phase::kChunkData) {
      const size_t take = std::min<uint64_t>(remaining_, bytes.size() - used);
      used += take;
      remaining_ -= take;
      if (remaining_ == 0) phase_ = Phase::kChunkSize;  // two bytes of CRLF were counted in
      continue;
    }
    if (!take_line(bytes, used, line))
      return line_.size() > kLineMax ? State::kBroken : State::kMore;
    if (phase_ == Phase::kTrailers) {
      if (line.empty()) phase_ = Phase::kDone;
    } else {
      uint64_t size = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
      if (error != std::errc()) return State::kBroken;
      body_bytes_ += size;
      phase_ = size == 0 ? Phase::kTrailers : Phase::kChunkData;
      remaining_ = size + 2;
    }
    line_.clear();
  }
  return phase_ == Phase::kDone ? State::kComplete : State::kMore;
}

ResponseReader::State ResponseReader::on_close() {
  return phase_ == Phase::kUntilClose || phase_ == Phase::kDone ? State::kComplete : State::kBroken;
}

}  // namespace np::bench
