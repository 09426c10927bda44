// SPDX-License-Identifier: Apache-2.0
// CodecHarness: one codec with the caller's side of the contract around it: keeps the bytes that
// the codec has not used, writes every event down as a line of text, and collects what it sends.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/h1_codec.h"

namespace np::http {

class CodecHarness {
 public:
  explicit CodecHarness(Role role, const H1Limits& limits = {});

  // Hands over bytes behind those that were left.
  void feed(std::string_view bytes);
  void finish();

  // Commands; each returns what it put on the wire.
  std::string send(StreamCommand::Kind kind, const Head& head, bool is_end = false,
                   bool close_after = false);
  std::string send_data(std::string_view data, bool is_end = false);
  std::string send_end();
  void send_reset();
  // Client role: opens a stream and sends a request without a body.
  std::string request(const Head& head, bool close_after = false);
  std::string request(std::string_view method);

  Codec& codec() { return *codec_; }
  // The events so far; data that came in pieces is one line.
  const std::string& transcript() const { return transcript_; }
  const std::string& unused() const { return pending_; }
  // Called after each event with its kind, for tests that answer at once.
  std::function<void(StreamEvent::Kind)> on_event;

 private:
  void record(const StreamEventList& events);
  void record_head(const StreamEvent& event, Role role);
  std::string run(StreamCommand&& command);

  Role role_;
  std::unique_ptr<Codec> codec_;
  StreamId stream_ = 0;
  std::string pending_;
  std::string transcript_;
  bool is_in_data_ = false;
};

// Everything in `queue`, which is empty afterwards.
std::string drain(OutputQueue& queue);

// Runs `input` (and FIN, if asked for) through fresh codecs: whole, byte by byte, and cut in two at
// every position. Fails the test unless all give the same transcript, which it returns.
struct FeedOptions {
  Role role = Role::kServer;
  H1Limits limits;
  Head request;           // client role: what was asked
  bool finishes = false;  // FIN after the input
  size_t cut_step = 1;    // every how many bytes to cut
};
std::string feed_all_ways(std::string_view input, const FeedOptions& options = {});

Head get_request();
Head simple_response(uint16_t status, std::string_view body);

}  // namespace np::http
