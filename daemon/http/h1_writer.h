// SPDX-License-Identifier: Apache-2.0
// H1Writer: the sending half of an HTTP/1 connection: heads and bodies into the output queue. Start
// line, framing and connection fields are always its own; of the fields that it is given it writes
// only those that cannot change the framing. Owned by an H1 codec; shard thread.
#pragma once

#include <cstdint>

#include "http/h1_head.h"
#include "http/output_queue.h"

namespace np::http {

class H1Writer {
 public:
  // What the client said that its answer depends on.
  struct Client {
    Version version = Version::kHttp11;
    RequestKind request = RequestKind::kOrdinary;
    bool accepts_trailers = false;
  };

  // False, and nothing written, when the head cannot be put on the wire safely.
  bool request_head(const Head& head, bool is_last, OutputQueue& out);
  // `may_keep`: the connection could carry another message. Returns whether it still can, which is
  // what the head announces.
  bool response_head(const Head& head, const Client& client, bool may_keep, OutputQueue& out);
  void interim_head(const Head& head, OutputQueue& out);

  void data(Slice data, OutputQueue& out);
  // Dropped unless the body is chunked and the peer reads trailers.
  void trailers(FieldSpan fields, OutputQueue& out);
  // Ends the message; false when its body is shorter than announced.
  bool end(OutputQueue& out);

  // What follows the message, or follows now if it has ended, goes out as it is.
  void start_tunnel();
  bool is_tunnel() const { return body_ == Body::kTunnel; }

 private:
  enum class Body : uint8_t { kNothing, kLength, kChunked, kUntilClose, kTunnel };

  void begin_body(Body body, uint64_t length);

  Body body_ = Body::kNothing;
  bool has_ended_ = true;
  bool becomes_tunnel_ = false;
  bool has_trailers_ = false;
  bool takes_trailers_ = false;
  uint64_t left_bytes_ = 0;  // of a kLength body
};

}  // namespace np::http
