// SPDX-License-Identifier: Apache-2.0
#include "http/h1_codec.h"

#include <array>
#include <cstddef>
#include <memory>

#include "base/check.h"
#include "http/h1_reader.h"
#include "http/h1_writer.h"
#include "http/thread_cache.h"

namespace np::http {
namespace {

// Connections come and go; the memory of their codecs stays.
template <typename T>
class SpareMemory {
 public:
  static void* take() { return Cache::take().release(); }
  static void give(void* memory) {
    Cache::give(std::unique_ptr<Block>(static_cast<Block*>(memory)));
  }

 private:
  struct Block {
    alignas(T) std::array<std::byte, sizeof(T)> bytes;
  };
  using Cache = ThreadCache<Block, kSpareCodecs>;
};

// ---- towards a client --------------------------------------------------------------------------

// One request at a time: reader_ works on request number stream_ until both it and its answer have
// ended, then on the next.
class H1ServerCodec final : public Codec {
 public:
  static void* operator new(size_t) { return SpareMemory<H1ServerCodec>::take(); }
  static void operator delete(void* memory) { SpareMemory<H1ServerCodec>::give(memory); }
  explicit H1ServerCodec(const H1Limits& limits) : reader_(Role::kServer, limits) {
    begin_message();
  }

  size_t on_bytes(const Slice& in, StreamEventList& out) override;
  void end_step() override { reader_.release_heads(); }
  void on_peer_finished(StreamEventList& out) override;
  void on_command(StreamCommand&& command, OutputQueue& out) override;
  StreamId open_stream() override { return 0; }
  bool can_open_stream() const override { return false; }
  bool wants_close() const override { return is_closed_; }
  bool is_busy() const override;
  void start_tunnel() override;

 private:
  void begin_message();
  void send_head(const Head& head, bool is_last, OutputQueue& out);
  void end_answer(OutputQueue& out);
  void settle();
  void close();

  H1Reader reader_;
  H1Writer writer_;
  StreamId stream_ = 0;
  bool is_answer_begun_ = false;
  bool is_answer_ended_ = false;
  bool keeps_ = false;  // after this answer
  bool has_sent_continue_ = false;
  bool has_peer_finished_ = false;
  bool is_closed_ = false;
};

void H1ServerCodec::begin_message() {
  ++stream_;
  is_answer_begun_ = false;
  is_answer_ended_ = false;
  keeps_ = false;
  has_sent_continue_ = false;
  reader_.begin(stream_, RequestKind::kOrdinary, false);
}

void H1ServerCodec::close() {
  is_closed_ = true;
  reader_.fail_quietly();
}

size_t H1ServerCodec::on_bytes(const Slice& in, StreamEventList& out) {
  reader_.release_heads();
  size_t used = 0;
  while (used < in.bytes.size() && !is_closed_) {
    const size_t taken = reader_.read(in.bytes.substr(used), out);
    if (taken == 0) break;
    used += taken;
    settle();
  }
  return used;
}

void H1ServerCodec::on_peer_finished(StreamEventList& out) {
  has_peer_finished_ = true;
  if (!is_busy()) return close();
  const bool was_tunnel = reader_.state() == H1Reader::State::kTunnel;
  const bool is_whole = reader_.finish(out);
  // Half a head is nobody's request; half a body was reported and may still be answered.
  if (!is_whole && !reader_.is_head_done()) return close();
  if (is_answer_ended_ && (was_tunnel || !is_whole)) close();
}

void H1ServerCodec::on_command(StreamCommand&& command, OutputQueue& out) {
  if (is_closed_ || command.stream != stream_) return;
  switch (command.kind) {
    case StreamCommand::Kind::kHead:
      if (NP_COUNT_IF(is_answer_begun_)) return;
      send_head(*command.head, command.close_after, out);
      if (command.end_of_message) end_answer(out);
      return;
    case StreamCommand::Kind::kInterim:
      // An HTTP/1.0 client would take it for the answer.
      if (is_answer_begun_ || reader_.version() == Version::kHttp10) return;
      if (command.head->status == 100) has_sent_continue_ = true;
      writer_.interim_head(*command.head, out);
      return;
    case StreamCommand::Kind::kData:
      writer_.data(std::move(command.data), out);
      if (command.end_of_message) end_answer(out);
      return;
    case StreamCommand::Kind::kTrailers:
      writer_.trailers(command.head->fields, out);
      if (command.end_of_message) end_answer(out);
      return;
    case StreamCommand::Kind::kEnd:
      return end_answer(out);
    case StreamCommand::Kind::kReset:
      return close();
  }
}

void H1ServerCodec::send_head(const Head& head, bool is_last, OutputQueue& out) {
  const HeadFacts& facts = reader_.facts();
  const bool is_read = reader_.state() == H1Reader::State::kEnded;
  // A client that was not told to continue may send its body or not: what comes next is unknown.
  const bool is_waiting = facts.expects_continue && !has_sent_continue_ && !is_read;
  // After a failed CONNECT, bytes meant for the tunnel would be read as requests.
  const bool is_connect = facts.request == RequestKind::kConnect;
  const bool can_read_on = reader_.state() != H1Reader::State::kFailed && !has_peer_finished_;
  const bool may_keep = facts.keep_alive && !is_last && !is_waiting && !is_connect && can_read_on;
  const H1Writer::Client client{reader_.version(), facts.request, facts.accepts_trailers};
  keeps_ = writer_.response_head(head, client, may_keep, out);
  is_answer_begun_ = true;
  if (writer_.is_tunnel()) reader_.start_tunnel();
}

void H1ServerCodec::end_answer(OutputQueue& out) {
  if (!is_answer_begun_ || is_answer_ended_) return;
  is_answer_ended_ = true;
  if (!writer_.end(out)) keeps_ = false;
  settle();
}

// The next request may begin when both halves have ended.
void H1ServerCodec::settle() {
  if (!is_answer_ended_) return;
  const H1Reader::State state = reader_.state();
  if (writer_.is_tunnel()) {
    if (state == H1Reader::State::kFailed) close();
  } else if (!keeps_ || state == H1Reader::State::kFailed) {
    close();
  } else if (state == H1Reader::State::kEnded) {
    if (has_peer_finished_) return close();
    begin_message();
  }
}

bool H1ServerCodec::is_busy() const {
  if (is_closed_) return false;
  return is_answer_begun_ || reader_.state() != H1Reader::State::kHead ||
         reader_.has_partial_head();
}

void H1ServerCodec::start_tunnel() {
  if (is_closed_) return;
  reader_.start_tunnel();
  writer_.start_tunnel();
}

// ---- towards an origin -------------------------------------------------------------------------

class H1ClientCodec final : public Codec {
 public:
  static void* operator new(size_t) { return SpareMemory<H1ClientCodec>::take(); }
  static void operator delete(void* memory) { SpareMemory<H1ClientCodec>::give(memory); }
  explicit H1ClientCodec(const H1Limits& limits) : reader_(Role::kClient, limits) {}

  size_t on_bytes(const Slice& in, StreamEventList& out) override;
  void end_step() override { reader_.release_heads(); }
  void on_peer_finished(StreamEventList& out) override;
  void on_command(StreamCommand&& command, OutputQueue& out) override;
  StreamId open_stream() override;
  bool can_open_stream() const override { return !is_open_ && !is_closed_; }
  bool wants_close() const override { return is_closed_; }
  bool is_busy() const override { return is_open_; }
  void start_tunnel() override;

 private:
  void send_head(const Head& head, bool is_last, OutputQueue& out);
  void end_request(OutputQueue& out);
  void settle();
  void close();

  H1Reader reader_;
  H1Writer writer_;
  StreamId stream_ = 0;
  bool is_open_ = false;  // from open_stream() until the answer has ended
  bool is_request_begun_ = false;
  bool is_request_ended_ = false;
  bool keeps_ = false;
  bool is_closed_ = false;
};

StreamId H1ClientCodec::open_stream() {
  NP_CHECK(can_open_stream());
  is_open_ = true;
  is_request_begun_ = false;
  is_request_ended_ = false;
  return ++stream_;
}

void H1ClientCodec::close() {
  is_open_ = false;
  is_closed_ = true;
  reader_.fail_quietly();
}

size_t H1ClientCodec::on_bytes(const Slice& in, StreamEventList& out) {
  reader_.release_heads();
  if (is_closed_ || in.bytes.empty()) return 0;
  if (is_open_ && !is_request_begun_) {
    reader_.begin(stream_, RequestKind::kOrdinary, false);
    reader_.fail(0, "answer_before_request", out);
    close();
    return 0;
  }
  size_t used = 0;
  while (used < in.bytes.size() && is_open_) {
    used += reader_.read(in.bytes.substr(used), out);
    settle();
  }
  // Bytes that answer nothing: an attempt to poison the next answer, or a 408 on its way out. They
  // are dropped, and so is the connection.
  if (!is_open_ && used < in.bytes.size()) {
    close();
    used = in.bytes.size();
  }
  return used;
}

void H1ClientCodec::on_peer_finished(StreamEventList& out) {
  if (is_closed_) return;
  if (!is_open_) return close();
  if (!is_request_begun_) reader_.begin(stream_, RequestKind::kOrdinary, false);
  reader_.finish(out);
  keeps_ = false;
  const bool is_tunnel_half_open = writer_.is_tunnel() && !is_request_ended_;
  if (!is_tunnel_half_open) close();
}

void H1ClientCodec::on_command(StreamCommand&& command, OutputQueue& out) {
  if (!is_open_ || command.stream != stream_) return;
  switch (command.kind) {
    case StreamCommand::Kind::kHead:
      if (NP_COUNT_IF(is_request_begun_)) return;
      send_head(*command.head, command.close_after, out);
      if (command.end_of_message) end_request(out);
      return;
    case StreamCommand::Kind::kInterim:
      return;  // no request has one
    case StreamCommand::Kind::kData:
      writer_.data(std::move(command.data), out);
      if (command.end_of_message) end_request(out);
      return;
    case StreamCommand::Kind::kTrailers:
      writer_.trailers(command.head->fields, out);
      if (command.end_of_message) end_request(out);
      return;
    case StreamCommand::Kind::kEnd:
      return end_request(out);
    case StreamCommand::Kind::kReset:
      return close();
  }
}

void H1ClientCodec::send_head(const Head& head, bool is_last, OutputQueue& out) {
  is_request_begun_ = true;
  keeps_ = !is_last;
  if (!writer_.request_head(head, is_last, out)) return close();
  reader_.begin(stream_, kind_of_method(head.method), !head.upgrade.empty());
}

void H1ClientCodec::end_request(OutputQueue& out) {
  if (!is_request_begun_ || is_request_ended_) return;
  const bool was_tunnel = writer_.is_tunnel();
  if (!writer_.end(out)) keeps_ = false;
  // The request of a tunnel ends twice: once as a message, once as a direction.
  is_request_ended_ = was_tunnel || !writer_.is_tunnel();
  if (was_tunnel && reader_.state() == H1Reader::State::kFailed) close();
}

void H1ClientCodec::settle() {
  switch (reader_.state()) {
    case H1Reader::State::kTunnel:
      if (!writer_.is_tunnel()) start_tunnel();
      return;
    case H1Reader::State::kFailed:
      return close();
    case H1Reader::State::kEnded:
      // An answer that came before the whole request leaves the rest of it undefined.
      if (!is_request_ended_ || !keeps_ || !reader_.facts().keep_alive) return close();
      is_open_ = false;
      return;
    case H1Reader::State::kHead:
    case H1Reader::State::kCounted:
    case H1Reader::State::kChunked:
    case H1Reader::State::kTrailers:
    case H1Reader::State::kUntilClose:
      return;
  }
}

void H1ClientCodec::start_tunnel() {
  if (!is_open_) return;
  reader_.start_tunnel();
  writer_.start_tunnel();
  if (writer_.is_tunnel()) is_request_ended_ = false;
}

}  // namespace

std::unique_ptr<Codec> make_h1_codec(Role role, const H1Limits& limits) {
  if (role == Role::kServer) return std::make_unique<H1ServerCodec>(limits);
  return std::make_unique<H1ClientCodec>(limits);
}

}  // namespace np::http
