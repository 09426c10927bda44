// SPDX-License-Identifier: Apache-2.0
// Codec: the protocol of one connection in one role (server towards a client, client towards an
// origin). Turns received bytes into stream events, and stream commands into bytes to send. Does no
// I/O, reads no clock, owns no socket. Owned and called by one proxy::Connection on its shard's
// thread. Heads are protocol-neutral: HTTP/1.1 today (h1_codec.h), HTTP/2 behind the same
// interface.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/field.h"
#include "http/output_queue.h"

namespace np::http {

// h1 numbers its messages 1, 2, 3, ...; h2 uses the wire's stream ids.
using StreamId = uint32_t;

enum class Version : uint8_t { kHttp10, kHttp11, kHttp2 };
enum class Role : uint8_t { kServer, kClient };

// How the length of a body is known.
enum class BodyKind : uint8_t {
  kNone,        // no body follows
  kLength,      // exactly content_length bytes
  kStreaming,   // until the end is signalled (chunked; h2 without content-length)
  kUntilClose,  // response only: until the peer closes
  kTunnel,      // after 101 or a 2xx to CONNECT: bytes both ways until FIN
};

// The head of a request or response. `fields` holds end-to-end fields only, in order: framing and
// hop-by-hop fields (traffic-semantics 4.3, with every name that Connection lists), Host and Expect
// are taken out and expressed by the members here.
struct Head {
  // request
  std::string_view method;
  std::string_view scheme;
  std::string_view authority;  // as sent (Host, or the absolute-form's, which wins)
  std::string_view target;     // origin-form with query as sent; "*"; empty for CONNECT
  bool expect_continue = false;
  std::string_view upgrade;  // value of Upgrade when Connection names it; else empty
  // response
  uint16_t status = 0;
  std::string_view reason;
  // both
  Version version = Version::kHttp11;
  BodyKind body = BodyKind::kNone;
  uint64_t content_length = 0;  // with kLength; also the CL of a HEAD or 304 answer
  bool has_content_length = false;
  bool accepts_trailers = false;  // TE: trailers
  FieldSpan fields;
};

// Why a stream ended badly, or input was refused.
enum class ResetReason : uint8_t {
  kNone,
  kPeerClosed,     // the peer went away in the middle
  kProtocolError,  // the peer broke the protocol: see StreamEvent::answer_status
  kLocal,          // we gave up
};

struct StreamEvent {
  enum class Kind : uint8_t {
    kHead,      // a valid head; a request's Exchange begins here
    kInterim,   // 1xx other than 101 (client role)
    kData,      // body or tunnel bytes
    kTrailers,  // `head->fields`: trailers that may be passed on
    kEnd,       // the message is complete
    kReset,     // the message will never be complete; comes only after the stream's kHead (server)
                // or open_stream (client). kProtocolError: `answer_status` is what the other side
                // may be told (server 400, client 502) if nothing was sent yet
    kRefused,   // server role, instead of kHead: answer `answer_status` (400, 414, 417, 431, 501,
                // 505 ...) and close; nothing of this request may be forwarded
  };
  Kind kind = Kind::kHead;
  StreamId stream = 0;
  const Head* head = nullptr;  // valid until end_step() or the next on_bytes() of this codec
  std::string_view data;  // points into the Slice handed to on_bytes: take its owner to keep it
  ResetReason reset = ResetReason::kNone;
  uint16_t answer_status = 0;
  const char* detail = nullptr;  // static text: which rule was broken ("cl_and_te", "bare_lf", ...)
};
using StreamEventList = std::vector<StreamEvent>;

// What the engine tells a codec to send on a stream.
struct StreamCommand {
  enum class Kind : uint8_t {
    kHead,      // request head (client role) or final response head (server role)
    kInterim,   // 1xx head
    kData,      // body or tunnel bytes; `data` is moved into the output queue
    kTrailers,  // `head->fields`; dropped by the codec where the peer cannot take them
    kEnd,       // the message is complete
    kReset,     // give the stream up: h1 closes the connection (abortively unless nothing was sent)
  };
  Kind kind = Kind::kHead;
  StreamId stream = 0;
  const Head* head = nullptr;  // only read during the call
  Slice data;
  bool end_of_message = false;  // with kHead or kData: nothing follows, saves a command
  bool close_after = false;     // with kHead, h1: announce and do Connection: close
};

class Codec {
 public:
  virtual ~Codec() = default;

  // Reads bytes. Appends events; returns how many bytes were used. An h1 server codec stops after
  // the end of a request and uses nothing more until that stream's response has ended, so that
  // pipelined requests are served one at a time; the caller keeps the rest. After kRefused or
  // kReset nothing more is ever used. A request that asks for a tunnel (CONNECT, Upgrade) ends with
  // kEnd like any other; what follows it is kept by the caller until the tunnel exists.
  virtual size_t on_bytes(const Slice& in, StreamEventList& out) = 0;

  // The step is over and nobody looks at its heads any more: gives their memory back. Optional; an
  // idle connection that is not told keeps the memory of its last head.
  virtual void end_step() {}

  // The peer sent FIN and every byte before it was used: completes a kUntilClose body, resets a
  // truncated message, ends a tunnel's direction with kEnd; between messages it appends nothing.
  virtual void on_peer_finished(StreamEventList& out) = 0;

  // Serialises into `out`. Never fails: the engine keeps to the order Interim* Head Data* Trailers?
  // End, or Reset at any point.
  virtual void on_command(StreamCommand&& command, OutputQueue& out) = 0;

  // Opens a stream for a request to be sent (client role). h1: the next message number.
  virtual StreamId open_stream() = 0;
  // h1: idle, reusable and nothing unexpected was received. h2: below the peer's limit, no GOAWAY.
  virtual bool can_open_stream() const = 0;
  // True once nothing more may be sent or received on this connection after the output is flushed.
  virtual bool wants_close() const = 0;
  // True while a message of either direction is unfinished.
  virtual bool is_busy() const = 0;
  // Turns the connection into a byte tunnel after a 101 or CONNECT head passed in both directions:
  // bytes come as kData, FIN as a (second) kEnd, kData commands go out as they are. An h1 codec
  // that has sent or received such a head is a tunnel already; calling it again does no harm.
  virtual void start_tunnel() = 0;
};

}  // namespace np::http
