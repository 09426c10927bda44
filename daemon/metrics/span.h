// SPDX-License-Identifier: Apache-2.0
// Span: one side of a request in a trace (traffic-semantics 3.9). A captured request has the
// CLIENT span of its caller and, when an endpoint was asked, the SERVER span of the called service
// under it; a request of a gateway has the gateway's SERVER span in place of the first. Made by the
// telemetry thread from records, then kept and exported as values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/time.h"
#include "metrics/record_codec.h"

namespace np::metrics {

// Tags of one span: all values in one text, because a busy node makes many of them.
class TagList {
 public:
  using Tag = std::pair<const char*, std::string_view>;
  class Iterator {
   public:
    Iterator(const TagList& list, size_t at) : list_(&list), at_(at) {}
    Tag operator*() const { return list_->at(at_); }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }

   private:
    const TagList* list_;
    size_t at_;
  };

  // `key` is a constant of the program.
  void emplace_back(const char* key, std::string_view value) {
    if (entries_.empty()) {
      entries_.reserve(kTagsUsually);
      text_.reserve(kBytesUsually);
    }
    entries_.push_back({key, static_cast<uint32_t>(text_.size())});
    text_.append(value);
  }
  size_t size() const { return entries_.size(); }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, entries_.size()}; }
  // Empty: there is none.
  std::string_view find(std::string_view key) const {
    for (const auto& [name, value] : *this) {
      if (key == name) return value;
    }
    return {};
  }

 private:
  static constexpr size_t kTagsUsually = 22, kBytesUsually = 384;
  struct Entry {
    const char* key;
    uint32_t begin;
  };
  Tag at(size_t i) const {
    const size_t begin = entries_[i].begin;
    const size_t end = i + 1 < entries_.size() ? entries_[i + 1].begin : text_.size();
    return {entries_[i].key, std::string_view(text_).substr(begin, end - begin)};
  }
  std::string text_;
  std::vector<Entry> entries_;
};

struct Span {
  enum class Kind : uint8_t { kClient, kServer };
  uint64_t trace_high = 0, trace_low = 0;
  uint64_t id = 0, parent = 0;  // parent 0: the trace begins here
  Kind kind = Kind::kClient;
  bool is_error = false;
  bool is_sampled = false;  // exported; others stay on this node
  bool is_debug = false;    // the collector is asked to keep it whatever its own share is
  std::string name;         // of the route rule
  std::string service;      // "reviews.default"
  SocketAddress own, peer;  // port 0: unknown
  int64_t start_unix_us = 0;
  int64_t duration_us = 0;
  TagList tags;
};

using SpanBatch = std::shared_ptr<const std::vector<Span>>;
using KeptSpan = std::shared_ptr<const Span>;  // shares its batch
inline SpanBatch batch_of(std::vector<Span> spans) {
  spans.shrink_to_fit();  // kept for long
  return std::make_shared<const std::vector<Span>>(std::move(spans));
}
std::vector<KeptSpan> kept(const SpanBatch& batch);

// "1234567890abcdef1234567890abcdef"
std::string trace_id_text(uint64_t high, uint64_t low);
// 16 or 32 hexadecimal digits; false: it is none.
bool parse_trace_id(std::string_view text, uint64_t& high, uint64_t& low);

// Adds the spans of `record` to `out`. `unix_offset`: what turns an Instant into the time of day.
void make_spans(const Record& record, Duration unix_offset, std::string_view node,
                std::vector<Span>& out);

}  // namespace np::metrics
