// SPDX-License-Identifier: Apache-2.0
// Scripted clients and origins. A request's path says what its origin does and how long the right
// answer is ("/s/ID/SIZE/WHAT"), so that each side can check every byte on its own. Bodies are a
// function of the request's id.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/sim/http_reader.h"
#include "tests/sim/network.h"

namespace np::sim {

// What an origin does with a request.
enum class Deed : char {
  kLength = 'l',      // answer with Content-Length
  kChunked = 'c',     // chunked
  kUntilClose = 'u',  // delimited by FIN
  kEarly = 'e',       // answer before the request's body was read
  kSlow = 'd',        // answer after a while
  kInterim = 'i',     // a 103 first
  kClose = 'k',       // Connection: close
  kStale = 's',       // answer, then close the kept connection unannounced
  kError = 'x',       // 503 with a body
  kCut = 't',         // half a Content-Length body, then FIN
  kCutChunked = 'T',  // a chunked body without end, then RST
  kReset = 'r',       // RST instead of an answer
  kGarbage = 'g',     // not HTTP
  kHang = 'h',        // nothing at all
};

char pattern_byte(uint64_t id, size_t at);
std::string pattern(uint64_t id, size_t size);

// Requests (or opaque connections) that an origin has begun and not ended, by whose limits they
// fall under: what the engines promise is looked at here, where they cannot see it.
struct OpenCount {
  uint32_t now = 0, most = 0;
  void begin() { most = std::max(most, ++now); }
  void end() { --now; }
};
inline constexpr uint32_t kCallers = 3;

// What all peers of one world report to.
struct Ledger {
  std::vector<std::string> violations;
  uint64_t asked = 0;
  uint64_t answered = 0;     // whole answers of origins
  uint64_t own_answers = 0;  // whole answers of the proxy
  uint64_t cut = 0;          // no answer, or a visibly cut one
  std::unordered_map<int, uint64_t> by_status;
  std::unordered_map<uint64_t, uint32_t> seen_by_origins;  // times a request arrived there
  bool clean = false;  // nothing goes wrong in this world: every answer must come from the origin
  uint64_t overloaded = 0;       // own answers that say x-envoy-overloaded
  uint64_t asked_of_broken = 0;  // requests that reached an origin that only fails
  std::unordered_map<uint64_t, uint32_t> callers;  // of each request, by its id
  OpenCount open[kCallers];                        // of each caller's requests, over all origins
  OpenCount open_tcp;
  void violation(const std::string& what) { violations.push_back(what); }
};

class Origin : public Peer {
 public:
  Origin(SimNetwork& network, Ledger& ledger) : network_(network), ledger_(ledger) {}
  void on_bytes(std::string_view bytes) override;
  void on_finished() override;
  void on_reset() override;
  // As the end of a process does: closes the connection if it has been used and is not in use.
  void restart();
  bool broken = false;  // answers 503 to everything

 private:
  void begin_request(const HttpMessage& request);
  void end_request();
  void serve(const HttpMessage& request, bool body_checked);
  void answer(Deed deed, uint64_t id, size_t size, bool head);
  void send_body(uint64_t id, size_t size, bool chunked);

  SimNetwork& network_;
  Ledger& ledger_;
  HttpReader reader_{HttpReader::Role::kRequests};
  bool gone_ = false;
  bool sent_continue_ = false;
  bool early_ = false;  // the current request has been answered before its end
  uint32_t served_ = 0;
  uint32_t slow_answers_ = 0;     // that are still to come
  OpenCount* counted_ = nullptr;  // where the current request is counted
};

struct Plan {
  uint64_t id = 0;
  std::string method;
  Deed deed = Deed::kLength;
  size_t answer_size = 0;
  size_t body_size = 0;
  bool chunked = false;
  bool expect = false;
};

class Client : public Peer {
 public:
  Client(SimNetwork& network, Ledger& ledger, std::vector<Plan> plans);
  void start();
  void on_bytes(std::string_view bytes) override;
  void on_finished() override;
  void on_reset() override;
  bool is_done() const { return ended_; }

  bool pipelines = false;
  bool old = false;            // HTTP/1.0: one request, FIN may tell the end
  bool finishes = false;       // FIN after the last request
  uint32_t leave_percent = 0;  // chance per request to vanish in the middle
  uint32_t caller = 0;         // whose limits hold

 private:
  void send_next();
  void send_body(const Plan& plan);
  void check(const HttpMessage& answer);
  void end(bool clean_end);

  SimNetwork& network_;
  Ledger& ledger_;
  std::deque<Plan> waiting_;  // not sent
  std::deque<Plan> sent_;     // sent, not answered
  HttpReader reader_{HttpReader::Role::kResponses};
  bool ended_ = false;
  bool closing_ = false;  // an answer said so
  bool body_owed_ = false;
};

// Opaque connections: the origin echoes; both sides check and half-close.
class EchoOrigin : public Peer {
 public:
  EchoOrigin(SimNetwork& network, Ledger& ledger, std::string greeting)
      : network_(network), ledger_(ledger), greeting_(std::move(greeting)) {}
  void on_open() override;
  void on_bytes(std::string_view bytes) override { network_.send(*this, bytes); }
  void on_finished() override;
  void on_reset() override { end(); }

 private:
  void end();

  SimNetwork& network_;
  Ledger& ledger_;
  std::string greeting_;
  bool open_ = false;
};

// Answers 101 and then echoes.
class WebsocketOrigin : public Peer {
 public:
  explicit WebsocketOrigin(SimNetwork& network) : network_(network) {}
  void on_bytes(std::string_view bytes) override;
  void on_finished() override { network_.finish(*this); }
  void on_reset() override {}

 private:
  SimNetwork& network_;
  std::string head_;
  bool switched_ = false;
};

class WebsocketClient : public Peer {
 public:
  WebsocketClient(SimNetwork& network, Ledger& ledger, uint64_t id, size_t size)
      : network_(network), ledger_(ledger), id_(id), size_(size) {}
  void start();
  void on_bytes(std::string_view bytes) override { got_.append(bytes); }
  void on_finished() override;
  void on_reset() override;

 private:
  void count_refusals();

  SimNetwork& network_;
  Ledger& ledger_;
  uint64_t id_;
  size_t size_;
  std::string got_;
  bool ended_ = false;
};

class EchoClient : public Peer {
 public:
  EchoClient(SimNetwork& network, Ledger& ledger, uint64_t id, size_t size, std::string greeting);
  void start();
  void on_bytes(std::string_view bytes) override { got_.append(bytes); }
  void on_finished() override;
  void on_reset() override;

 private:
  SimNetwork& network_;
  Ledger& ledger_;
  uint64_t id_;
  size_t size_;
  std::string greeting_;
  std::string got_;
  bool ended_ = false;
};

}  // namespace np::sim
