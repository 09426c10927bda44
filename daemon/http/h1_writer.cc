// SPDX-License-Identifier: Apache-2.0
#include "http/h1_writer.h"

#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "http/field_kind.h"
#include "http/grammar.h"
#include "http/status_text.h"

namespace np::http {
namespace {

class Number {
 public:
  explicit Number(uint64_t number, int base = 10)
      : end_(std::to_chars(digits_.begin(), digits_.end(), number, base).ptr) {}
  std::string_view text() const {
    return {digits_.data(), static_cast<size_t>(end_ - digits_.data())};
  }

 private:
  std::array<char, 20> digits_;
  char* end_;
};

// Writes small pieces straight into the queue's block; goes through append() where it ends.
class Sink {
 public:
  explicit Sink(OutputQueue& queue) : queue_(queue), room_(queue.room()) {}
  ~Sink() { queue_.commit(used_); }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  void put(std::string_view text) {
    if (text.size() > room_.size - used_) [[unlikely]] {
      spill(text);
      return;
    }
    append(text);
  }
  void put_all(std::initializer_list<std::string_view> texts) {
    size_t size = 0;
    for (const std::string_view text : texts) size += text.size();
    if (size > room_.size - used_) [[unlikely]] {
      for (const std::string_view text : texts) put(text);
      return;
    }
    for (const std::string_view text : texts) append(text);
  }
  void put_field(std::string_view name, std::string_view value) {
    put_all({name, ": ", value, "\r\n"});
  }

 private:
  void append(std::string_view text) {
    if (text.empty()) return;  // its pointer may be null, which memcpy does not take
    std::memcpy(room_.data + used_, text.data(), text.size());
    used_ += text.size();
  }
  void spill(std::string_view text) {
    queue_.commit(used_);
    queue_.append(text);
    room_ = queue_.room();
    used_ = 0;
  }

  OutputQueue& queue_;
  OutputQueue::Room room_;
  size_t used_ = 0;
};

// Fields that the engine was given, or that policy added: a name or value that would break the line
// apart and anything that is ours to say is left out and counted.
void put_fields(FieldSpan fields, bool is_response, Sink& sink) {
  std::string_view run;  // lines that came one behind the other go out in one piece
  for (const Field& field : fields) {
    if (field.is_line) {
      const std::string_view line = field.line();
      if (run.data() + run.size() != line.data()) {
        sink.put(run);
        run = line.substr(0, 0);
      }
      run = {run.data(), run.size() + line.size()};
      continue;
    }
    sink.put(std::exchange(run, {}));
    const FieldKind kind = classify_field(field.name);
    const bool is_request_only = kind == FieldKind::kHost || kind == FieldKind::kExpect;
    const bool is_ours = kind != FieldKind::kOther && !(is_response && is_request_only);
    if (NP_COUNT_IF(is_ours)) continue;
    if (NP_COUNT_IF(!is_token(field.name) || !is_field_value(field.value))) continue;
    sink.put_field(field.name, field.value);
  }
  sink.put(run);
}

void put_length(uint64_t length, Sink& sink) {
  sink.put_field("content-length", Number(length).text());
}

// A rewritten target may hold bytes that a request line cannot.
void put_target(std::string_view target, Sink& sink) {
  if (target.empty()) target = "/";
  if (is_target(target)) return sink.put(target);
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : target) {
    const auto byte = static_cast<uint8_t>(c);
    if (is_target_char(c)) {
      sink.put({&c, 1});
    } else {
      const std::array<char, 3> escaped = {'%', kHex[byte >> 4U], kHex[byte & 15U]};
      sink.put({escaped.data(), escaped.size()});
    }
  }
}

void put_status_line(const Head& head, Sink& sink) {
  const bool is_usable = !head.reason.empty() && is_field_value(head.reason);
  sink.put_all({"HTTP/1.1 ", Number(head.status).text(), " ",
                is_usable ? head.reason : status_text(head.status), "\r\n"});
}

// Connection with what it names. `fate` is "close", "keep-alive" or empty.
void put_connection(std::string_view fate, std::string_view upgrade, bool has_te, Sink& sink) {
  const bool has_upgrade = !upgrade.empty() && !NP_COUNT_IF(!is_field_value(upgrade));
  if (fate.empty() && !has_upgrade && !has_te) return;
  sink.put("connection: ");
  sink.put(fate);
  if (has_upgrade) sink.put(fate.empty() ? "upgrade" : ", upgrade");
  if (has_te) sink.put(fate.empty() && !has_upgrade ? "TE" : ", TE");
  sink.put("\r\n");
  if (has_upgrade) sink.put_field("upgrade", upgrade);
  if (has_te) sink.put("te: trailers\r\n");
}

// Methods whose requests mostly carry a body: saying that there is none avoids a 411.
bool expects_body(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

void put_request_framing(const Head& head, Sink& sink) {
  switch (head.body) {
    case BodyKind::kLength:
      return put_length(head.content_length, sink);
    case BodyKind::kStreaming:
    case BodyKind::kUntilClose:  // no request ends so; chunks keep it well-formed
      return sink.put("transfer-encoding: chunked\r\n");
    case BodyKind::kNone:
      if (head.has_content_length || expects_body(head.method)) put_length(0, sink);
      return;
    case BodyKind::kTunnel:
      return;
  }
}

bool has_no_body(uint16_t status, RequestKind request) {
  return request == RequestKind::kHead || status < 200 || status == 204 || status == 304;
}

bool is_tunnel_answer(uint16_t status, RequestKind request) {
  return status == 101 || (request == RequestKind::kConnect && status / 100 == 2);
}

// The Content-Length of an answer without a body: HEAD and 304 keep the one of the full answer.
void put_bodiless_length(const Head& head, RequestKind request, Sink& sink) {
  const bool stands_for_more = request == RequestKind::kHead || head.status == 304;
  if (stands_for_more) {
    const bool is_known = head.has_content_length || head.body == BodyKind::kLength;
    if (is_known && head.status >= 200 && head.status != 204) {
      put_length(head.content_length, sink);
    }
  } else if (head.status >= 200 && head.status != 204) {
    put_length(0, sink);
  }
}

}  // namespace

bool H1Writer::request_head(const Head& head, bool is_last, OutputQueue& out) {
  const bool is_connect = head.method == "CONNECT";
  if (NP_COUNT_IF(!is_token(head.method))) return false;
  const bool has_authority = is_connect || !head.authority.empty();
  const PortRule port = is_connect ? PortRule::kRequired : PortRule::kOptional;
  if (has_authority && NP_COUNT_IF(find_authority_fault(head.authority, port) != nullptr)) {
    return false;
  }
  {
    Sink sink(out);
    sink.put_all({head.method, " "});
    if (is_connect) {
      sink.put(head.authority);
    } else {
      put_target(head.target, sink);
    }
    sink.put_all({" HTTP/1.1\r\nhost: ", head.authority, "\r\n"});
    put_fields(head.fields, false, sink);
    put_request_framing(head, sink);
    if (head.expect_continue) sink.put("expect: 100-continue\r\n");
    put_connection(is_last ? "close" : "", head.upgrade, head.accepts_trailers, sink);
    sink.put("\r\n");
  }
  takes_trailers_ = true;
  if (head.body == BodyKind::kLength) {
    begin_body(Body::kLength, head.content_length);
  } else if (head.body == BodyKind::kStreaming || head.body == BodyKind::kUntilClose) {
    begin_body(Body::kChunked, 0);
  } else {
    begin_body(Body::kNothing, 0);
  }
  return true;
}

bool H1Writer::response_head(const Head& head, const Client& client, bool may_keep,
                             OutputQueue& out) {
  Body body = Body::kNothing;
  if (is_tunnel_answer(head.status, client.request)) {
    body = Body::kTunnel;
  } else if (!has_no_body(head.status, client.request) && head.body != BodyKind::kNone) {
    const bool is_http10 = client.version == Version::kHttp10;
    body = is_http10 ? Body::kUntilClose : Body::kChunked;
    if (head.body == BodyKind::kLength) body = Body::kLength;
  }
  const bool keeps = may_keep && body != Body::kUntilClose;
  std::string_view fate;
  if (body != Body::kTunnel) {
    if (!keeps) fate = "close";
    if (keeps && client.version == Version::kHttp10) fate = "keep-alive";
  }
  {
    Sink sink(out);
    put_status_line(head, sink);
    put_fields(head.fields, true, sink);
    if (body == Body::kLength) put_length(head.content_length, sink);
    if (body == Body::kChunked) sink.put("transfer-encoding: chunked\r\n");
    if (body == Body::kNothing) put_bodiless_length(head, client.request, sink);
    put_connection(fate, head.upgrade, false, sink);
    sink.put("\r\n");
  }
  takes_trailers_ = client.accepts_trailers;
  begin_body(body, head.content_length);
  return keeps;
}

void H1Writer::interim_head(const Head& head, OutputQueue& out) {
  Sink sink(out);
  put_status_line(head, sink);
  put_fields(head.fields, true, sink);
  sink.put("\r\n");
}

void H1Writer::begin_body(Body body, uint64_t length) {
  body_ = body;
  left_bytes_ = length;
  has_ended_ = false;
  becomes_tunnel_ = false;
  has_trailers_ = false;
}

void H1Writer::data(Slice data, OutputQueue& out) {
  if (data.bytes.empty() || has_ended_) return;
  switch (body_) {
    case Body::kNothing:  // the body of an answer to HEAD and the like
      return;
    case Body::kLength:
      // More than was announced would be read as the next message.
      if (NP_COUNT_IF(data.bytes.size() > left_bytes_)) {
        data.bytes = data.bytes.substr(0, left_bytes_);
      }
      left_bytes_ -= data.bytes.size();
      break;
    case Body::kChunked: {
      Sink sink(out);
      sink.put_all({Number(data.bytes.size(), 16).text(), "\r\n"});
      break;
    }
    case Body::kUntilClose:
    case Body::kTunnel:
      break;
  }
  out.append(std::move(data));
  if (body_ == Body::kChunked) out.append("\r\n");
}

void H1Writer::trailers(FieldSpan fields, OutputQueue& out) {
  if (has_ended_ || body_ != Body::kChunked || !takes_trailers_ || has_trailers_) return;
  has_trailers_ = true;
  Sink sink(out);
  sink.put("0\r\n");
  for (const Field& field : fields) {
    if (NP_COUNT_IF(!is_token(field.name) || !is_field_value(field.value))) continue;
    if (is_allowed_in_trailers(field.name)) sink.put_field(field.name, field.value);
  }
}

bool H1Writer::end(OutputQueue& out) {
  if (has_ended_) return true;
  has_ended_ = true;
  if (body_ == Body::kChunked) out.append(has_trailers_ ? "\r\n" : "0\r\n\r\n");
  const bool is_whole = body_ != Body::kLength || !NP_COUNT_IF(left_bytes_ > 0);
  if (becomes_tunnel_) begin_body(Body::kTunnel, 0);
  return is_whole;
}

void H1Writer::start_tunnel() {
  if (is_tunnel()) return;
  becomes_tunnel_ = true;
  if (has_ended_) begin_body(Body::kTunnel, 0);
}

}  // namespace np::http
