// SPDX-License-Identifier: Apache-2.0
// H1Reader: the receiving half of an HTTP/1 connection: bytes in, stream events out, one message
// after the other. Owned by an H1 codec, which tells it when the next message may begin; shard
// thread. Keeps bytes only of a head or trailer section that has not come whole.
#pragma once

#include <memory>
#include <string_view>

#include "http/h1_codec.h"
#include "http/h1_head.h"
#include "http/h1_parser.h"
#include "http/head_memory.h"
#include "http/head_scanner.h"

namespace np::http {

class H1Reader {
 public:
  H1Reader(Role role, const H1Limits& limits);

  enum class State : uint8_t {
    kHead,
    kCounted,  // a body of left_bytes_
    kChunked,  // framed by llhttp
    kTrailers,
    kUntilClose,
    kTunnel,
    kEnded,   // the message is complete
    kFailed,  // kRefused or kReset was said: nothing more is read
  };
  State state() const { return state_; }

  // The next message is number `stream`. `request` and `is_upgrade_asked` describe the request that
  // an answer belongs to (client role).
  void begin(StreamId stream, RequestKind request, bool is_upgrade_asked);

  // Uses bytes until the message has ended or failed; returns how many.
  size_t read(std::string_view in, StreamEventList& out);
  // FIN. True if the message may end so.
  bool finish(StreamEventList& out);
  // What follows the message, or follows now if it has ended, belongs to a tunnel.
  void start_tunnel();
  // Reads nothing more and says nothing.
  void fail_quietly();

  // Some of a head was received, but not all.
  bool has_partial_head() const { return state_ == State::kHead && partial_ != nullptr; }
  // Facts of the last head; the version is what the peer speaks.
  const HeadFacts& facts() const { return facts_; }
  Version version() const { return version_; }
  bool is_head_done() const { return is_head_done_; }

  // Heads handed out before are no longer looked at.
  void release_heads() { held_.release(); }
  void fail(uint16_t status, const char* detail, StreamEventList& out);

 private:
  size_t read_at_once(std::string_view in, StreamEventList& out);
  size_t read_section(std::string_view in, StreamEventList& out);
  size_t read_partial_section(std::string_view in, StreamEventList& out);
  size_t read_counted(std::string_view in, StreamEventList& out);
  size_t read_chunked(std::string_view in, StreamEventList& out);
  void on_section(std::string_view bytes, std::unique_ptr<HeadMemory> memory, StreamEventList& out);
  Verdict read_head(std::string_view bytes, HeadMemory& memory, HeadFacts& facts) const;
  void on_head(std::string_view bytes, HeadMemory& memory, StreamEventList& out);
  void on_trailers(std::string_view bytes, HeadMemory& memory, StreamEventList& out);
  void begin_body(const Head& head, StreamEventList& out);
  void begin_head();
  void begin_trailers();
  bool refuse_start_line(std::string_view bytes, StreamEventList& out);
  void refuse_section(ScanResult result, StreamEventList& out);
  void end(StreamEventList& out);
  void emit_data(std::string_view data, StreamEventList& out) const;
  void emit(StreamEvent::Kind kind, const Head* head, StreamEventList& out) const;
  void reset(ResetReason reason, uint16_t status, const char* detail, StreamEventList& out);

  const H1Limits limits_;
  const Role role_;
  State state_ = State::kHead;
  bool is_start_line_checked_ = false;
  bool is_head_done_ = false;  // of the current message; interim heads do not count
  bool becomes_tunnel_ = false;
  bool is_upgrade_asked_ = false;
  Version version_ = Version::kHttp11;
  RequestKind request_ = RequestKind::kOrdinary;
  StreamId stream_ = 0;
  uint32_t interim_count_ = 0;
  uint64_t left_bytes_ = 0;  // of a body with a length
  HeadFacts facts_;
  HeadScanner scanner_;
  H1Parser parser_;
  std::unique_ptr<HeadMemory> partial_;
  HeadMemoryChain held_;
};

}  // namespace np::http
