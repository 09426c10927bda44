// SPDX-License-Identifier: Apache-2.0
#include "codec_harness.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace np::http {
namespace {

const char* body_name(BodyKind body) {
  switch (body) {
    case BodyKind::kNone:
      return "none";
    case BodyKind::kLength:
      return "length";
    case BodyKind::kStreaming:
      return "streaming";
    case BodyKind::kUntilClose:
      return "until-close";
    case BodyKind::kTunnel:
      return "tunnel";
  }
  return "?";
}

void append_quoted(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

}  // namespace

CodecHarness::CodecHarness(Role role, const H1Limits& limits)
    : role_(role), codec_(make_h1_codec(role, limits)) {}

void CodecHarness::feed(std::string_view bytes) {
  pending_.append(bytes);
  while (!pending_.empty()) {
    // A fresh allocation each time, so that sanitizers see views that outlive their bytes.
    const std::string slice_bytes = pending_;
    StreamEventList events;
    const size_t used = codec_->on_bytes(Slice{{}, slice_bytes}, events);
    ASSERT_LE(used, pending_.size());
    pending_.erase(0, used);
    record(events);
    codec_->end_step();
    if (used == 0) break;
  }
}

void CodecHarness::finish() {
  StreamEventList events;
  codec_->on_peer_finished(events);
  record(events);
}

void CodecHarness::record(const StreamEventList& events) {
  for (const StreamEvent& event : events) {
    stream_ = event.stream;
    if (event.kind == StreamEvent::Kind::kData) {
      if (!is_in_data_) transcript_ += "data ";
      append_quoted(transcript_, event.data);
      is_in_data_ = true;
      if (on_event) on_event(event.kind);
      continue;
    }
    if (is_in_data_) transcript_ += "\n";
    is_in_data_ = false;
    record_head(event, role_);
    if (on_event) on_event(event.kind);
  }
}

void CodecHarness::record_head(const StreamEvent& event, Role role) {
  std::string& out = transcript_;
  const auto put = [&out](std::string_view text) { out.append(" ").append(text); };
  switch (event.kind) {
    case StreamEvent::Kind::kHead:
    case StreamEvent::Kind::kInterim: {
      const Head& head = *event.head;
      out += event.kind == StreamEvent::Kind::kHead ? "head" : "interim";
      put("#" + std::to_string(event.stream));
      if (role == Role::kServer) {
        put(head.method);
        put(head.authority);
        put(head.target);
      } else {
        put(std::to_string(head.status));
        put("'" + std::string(head.reason) + "'");
      }
      if (head.version == Version::kHttp10) put("1.0");
      put(body_name(head.body));
      if (head.has_content_length) put("cl=" + std::to_string(head.content_length));
      if (head.expect_continue) put("expects-continue");
      if (head.accepts_trailers) put("accepts-trailers");
      if (!head.upgrade.empty()) put("upgrade=" + std::string(head.upgrade));
      if (!head.scheme.empty()) put("scheme=" + std::string(head.scheme));
      break;
    }
    case StreamEvent::Kind::kTrailers:
      out += "trailers";
      break;
    case StreamEvent::Kind::kEnd:
      out += "end";
      break;
    case StreamEvent::Kind::kReset:
      out += event.reset == ResetReason::kPeerClosed ? "reset closed" : "reset protocol";
      put(std::to_string(event.answer_status));
      put(event.detail);
      break;
    case StreamEvent::Kind::kRefused:
      out += "refused";
      put(std::to_string(event.answer_status));
      put(event.detail);
      break;
    case StreamEvent::Kind::kData:
      break;
  }
  if (event.head != nullptr) {
    for (const Field& field : event.head->fields) {
      out.append(" [").append(field.name).append(": ").append(field.value).append("]");
    }
  }
  out += "\n";
}

std::string CodecHarness::run(StreamCommand&& command) {
  OutputQueue queue;
  command.stream = stream_;
  codec_->on_command(std::move(command), queue);
  return drain(queue);
}

std::string CodecHarness::send(StreamCommand::Kind kind, const Head& head, bool is_end,
                               bool close_after) {
  StreamCommand command;
  command.kind = kind;
  command.head = &head;
  command.end_of_message = is_end;
  command.close_after = close_after;
  return run(std::move(command));
}

std::string CodecHarness::send_data(std::string_view data, bool is_end) {
  StreamCommand command;
  command.kind = StreamCommand::Kind::kData;
  command.data.bytes = data;
  command.end_of_message = is_end;
  return run(std::move(command));
}

std::string CodecHarness::send_end() {
  StreamCommand command;
  command.kind = StreamCommand::Kind::kEnd;
  return run(std::move(command));
}

void CodecHarness::send_reset() {
  StreamCommand command;
  command.kind = StreamCommand::Kind::kReset;
  run(std::move(command));
}

std::string CodecHarness::request(const Head& head, bool close_after) {
  stream_ = codec_->open_stream();
  return send(StreamCommand::Kind::kHead, head, true, close_after);
}

std::string CodecHarness::request(std::string_view method) {
  Head head = get_request();
  head.method = method;
  if (method == "CONNECT") head.authority = "a:80";
  return request(head);
}

std::string drain(OutputQueue& queue) {
  std::string out;
  iovec pieces[16];
  while (!queue.empty()) {
    const size_t count = queue.fill_iovec(pieces, 16);
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      out.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
      bytes += pieces[i].iov_len;
    }
    queue.consume(bytes);
  }
  return out;
}

std::string feed_all_ways(std::string_view input, const FeedOptions& options) {
  const auto run_with = [&](const std::vector<std::string_view>& pieces) {
    CodecHarness harness(options.role, options.limits);
    if (options.role == Role::kClient) harness.request(options.request);
    for (const std::string_view piece : pieces) harness.feed(piece);
    if (options.finishes) harness.finish();
    return harness.transcript() + (harness.codec().wants_close() ? "wants-close\n" : "");
  };
  const std::string whole = run_with({input});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < input.size(); ++i) bytes.push_back(input.substr(i, 1));
  EXPECT_EQ(whole, run_with(bytes)) << "byte by byte";
  for (size_t cut = 1; cut < input.size(); cut += options.cut_step) {
    EXPECT_EQ(whole, run_with({input.substr(0, cut), input.substr(cut)})) << "cut at " << cut;
    if (testing::Test::HasFailure()) break;
  }
  return whole;
}

Head get_request() {
  Head head;
  head.method = "GET";
  head.authority = "a";
  head.target = "/";
  return head;
}

Head simple_response(uint16_t status, std::string_view body) {
  Head head;
  head.status = status;
  head.body = body.empty() ? BodyKind::kNone : BodyKind::kLength;
  head.content_length = body.size();
  head.has_content_length = true;
  return head;
}

}  // namespace np::http
