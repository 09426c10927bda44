// SPDX-License-Identifier: Apache-2.0
// Shared by the h1 fuzz targets: checks that every event list keeps codec.h's promises, and writes
// the events down so that two runs can be compared.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "http/field_kind.h"
#include "http/grammar.h"
#include "http/h1_codec.h"
#include "tests/support/whole_head.h"

namespace np::http {

// A message as the events tell it.
struct SeenMessage {
  std::string head;  // start line facts and fields
  std::string data;
  std::string trailers;
  bool has_head = false;
  bool has_ended = false;
  std::string fault;  // of kReset or kRefused
};

// `input` begins with the head that was read as `head`: llhttp reads all of it alike (decision
// 0015).
inline void check_whole_head(Role role, std::string_view input, const Head& head) {
  while (input.starts_with("\r\n")) input.remove_prefix(2);
  const std::string_view bytes = input.substr(0, input.find("\r\n\r\n") + 4);
  NP_CHECK(test::find_difference(test::read_whole_head(role, bytes), head) == nullptr);
}

// One codec, and its caller's side of the contract.
class FuzzedCodec {
 public:
  FuzzedCodec(Role role, const H1Limits& limits)
      : role_(role), codec_(make_h1_codec(role, limits)) {}

  Codec& codec() { return *codec_; }
  // A server codec was told to send 101: bytes may follow the end of the request.
  void expect_tunnel() { is_tunnel_ = true; }
  const std::vector<SeenMessage>& messages() const { return messages_; }

  // Returns how many bytes were used. Calls `each` after checking an event.
  template <typename Each>
  size_t feed(std::string_view bytes, Each each) {
    const std::string copy(bytes);  // of its own, so that stray views are seen
    StreamEventList events;
    const size_t used = codec_->on_bytes(Slice{{}, copy}, events);
    NP_CHECK(used <= bytes.size());
    for (const StreamEvent& event : events) {
      note(event, copy);
      each(event);
    }
    codec_->end_step();
    return used;
  }

  template <typename Each>
  void finish(Each each) {
    StreamEventList events;
    codec_->on_peer_finished(events);
    for (const StreamEvent& event : events) {
      note(event, {});
      each(event);
    }
  }

  std::string transcript() const {
    std::string out;
    for (const SeenMessage& message : messages_) {
      out += message.head + "|" + message.data + "|" + message.trailers + "|" + message.fault +
             (message.has_ended ? "|end\n" : "|\n");
    }
    return out + (codec_->wants_close() ? "close" : "");
  }

 private:
  void note(const StreamEvent& event, std::string_view bytes) {
    NP_CHECK(!is_failed_);
    const bool begins = messages_.empty() || (messages_.back().has_ended && !is_tunnel_);
    if (begins) messages_.emplace_back();
    SeenMessage& message = messages_.back();
    switch (event.kind) {
      case StreamEvent::Kind::kHead:
        message.has_head = true;
        check_head(*event.head);
        message.head += describe(*event.head);
        is_tunnel_ |= event.head->body == BodyKind::kTunnel;
        break;
      case StreamEvent::Kind::kInterim:
        NP_CHECK(role_ == Role::kClient && !message.has_head);
        message.head += "interim " + describe(*event.head);
        break;
      case StreamEvent::Kind::kData:
        NP_CHECK(message.has_head && !event.data.empty());
        NP_CHECK(event.data.data() >= bytes.data() &&
                 event.data.data() + event.data.size() <= bytes.data() + bytes.size());
        message.data += event.data;
        break;
      case StreamEvent::Kind::kTrailers:
        NP_CHECK(message.has_head && !message.has_ended && message.trailers.empty());
        for (const Field& field : event.head->fields) {
          NP_CHECK(is_allowed_in_trailers(field.name));
          message.trailers += describe(field);
        }
        break;
      case StreamEvent::Kind::kEnd:
        NP_CHECK(message.has_head);
        message.has_ended = true;
        break;
      case StreamEvent::Kind::kReset:
      case StreamEvent::Kind::kRefused:
        NP_CHECK(event.detail != nullptr && event.answer_status >= 400);
        message.fault = event.detail;
        is_failed_ = true;
        break;
    }
  }

  void check_head(const Head& head) const {
    for (const Field& field : head.fields) {
      NP_CHECK(is_token(field.name) && is_field_value(field.value));
      NP_CHECK(trim_blanks(field.value) == field.value);
      const FieldKind kind = classify_field(field.name);
      NP_CHECK(kind == FieldKind::kOther || role_ == Role::kClient);
      NP_CHECK(kind == FieldKind::kOther || kind == FieldKind::kHost || kind == FieldKind::kExpect);
    }
    if (role_ == Role::kClient) {
      NP_CHECK(head.status >= 100 && head.status < 600);
      return;
    }
    NP_CHECK(is_token(head.method));
    NP_CHECK(head.target.empty() ? head.method == "CONNECT" : is_target(head.target));
    NP_CHECK(head.authority.empty() ||
             find_authority_fault(head.authority, PortRule::kOptional) == nullptr);
  }

  static std::string describe(const Field& field) {
    return std::string(field.name) + ":" + std::string(field.value) + ";";
  }

 public:
  static std::string describe(const Head& head) {
    std::string out = std::string(head.method) + " " + std::string(head.authority) + " " +
                      std::string(head.target) + " " + std::to_string(head.status) + " " +
                      std::to_string(static_cast<int>(head.body)) + " " +
                      std::to_string(head.content_length) + " " + std::string(head.upgrade) +
                      (head.accepts_trailers ? " te " : " ") +
                      (head.expect_continue ? "expect " : "");
    for (const Field& field : head.fields) out += describe(field);
    return out;
  }

 private:
  Role role_;
  std::unique_ptr<Codec> codec_;
  std::vector<SeenMessage> messages_;
  bool is_failed_ = false;
  bool is_tunnel_ = false;
};

// Limits that a short input can reach.
inline H1Limits fuzz_limits() {
  H1Limits limits;
  limits.head_bytes_max = 512;
  limits.field_count_max = 12;
  limits.target_bytes_max = 64;
  limits.chunk_extension_bytes_max = 16;
  limits.trailer_bytes_max = 64;
  limits.empty_lines_max = 2;
  return limits;
}

inline std::string drain(OutputQueue& queue) {
  std::string out;
  iovec pieces[8];
  while (!queue.empty()) {
    size_t bytes = 0;
    const size_t count = queue.fill_iovec(pieces, 8);
    for (size_t i = 0; i < count; ++i) {
      out.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
      bytes += pieces[i].iov_len;
    }
    queue.consume(bytes);
  }
  NP_CHECK(queue.charged_bytes() == 0);
  return out;
}

// What an engine does with an event of one side: the command for the other side.
inline bool to_command(const StreamEvent& event, StreamId stream, StreamCommand& command) {
  command.stream = stream;
  command.head = event.head;
  command.data.bytes = event.data;
  switch (event.kind) {
    case StreamEvent::Kind::kHead:
      command.kind = StreamCommand::Kind::kHead;
      return true;
    case StreamEvent::Kind::kInterim:
      command.kind = StreamCommand::Kind::kInterim;
      return true;
    case StreamEvent::Kind::kData:
      command.kind = StreamCommand::Kind::kData;
      return true;
    case StreamEvent::Kind::kTrailers:
      command.kind = StreamCommand::Kind::kTrailers;
      return true;
    case StreamEvent::Kind::kEnd:
      command.kind = StreamCommand::Kind::kEnd;
      return true;
    case StreamEvent::Kind::kReset:
    case StreamEvent::Kind::kRefused:
      return false;
  }
  return false;
}

}  // namespace np::http
