// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/peers.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace np::sim {
namespace {

constexpr size_t kPiece = 1500;

struct Wish {
  uint64_t id = 0;
  size_t size = 0;
  Deed deed = Deed::kLength;
  bool valid = false;
};

// "GET /s/12/500/l HTTP/1.1"
Wish read_wish(const std::string& start) {
  Wish wish;
  const size_t at = start.find(" /s/");
  if (at == std::string::npos) return wish;
  const char* end = start.data() + start.size();
  const auto id = std::from_chars(start.data() + at + 4, end, wish.id);
  if (id.ec != std::errc() || id.ptr == end || *id.ptr != '/') return wish;
  const auto size = std::from_chars(id.ptr + 1, end, wish.size);
  if (size.ec != std::errc() || end - size.ptr < 2 || *size.ptr != '/') return wish;
  wish.deed = static_cast<Deed>(size.ptr[1]);
  wish.valid = true;
  return wish;
}

bool is_cut(Deed deed) {
  return deed == Deed::kCut || deed == Deed::kCutChunked;
}

}  // namespace

char pattern_byte(uint64_t id, size_t at) {
  return static_cast<char>('a' + (id * 31 + at * 7 + at / 26) % 26);
}

std::string pattern(uint64_t id, size_t size) {
  std::string result(size, ' ');
  for (size_t i = 0; i < size; ++i) result[i] = pattern_byte(id, i);
  return result;
}

// ---- Origin ----------------------------------------------------------------------------------

// Counted as soon as its head is here, and until the last byte of the answer has been given away or
// the connection is no more.
void Origin::begin_request(const HttpMessage& request) {
  if (counted_ != nullptr) return;
  const Wish wish = read_wish(request.start);
  const auto caller = ledger_.callers.find(wish.id);
  if (!wish.valid || caller == ledger_.callers.end()) return;
  counted_ = &ledger_.open[caller->second];
  counted_->begin();
  if (broken) ++ledger_.asked_of_broken;
}

void Origin::end_request() {
  if (counted_ != nullptr) std::exchange(counted_, nullptr)->end();
}

void Origin::on_bytes(std::string_view bytes) {
  if (gone_) return;
  if (!reader_.feed(bytes)) {
    ledger_.violation("origin read a broken request: " + reader_.error());
    gone_ = true;
    return;
  }
  HttpMessage request;
  while (!gone_) {
    if (reader_.has_head() && !early_) {
      begin_request(reader_.current());
      const Wish wish = read_wish(reader_.current().start);
      if (wish.deed == Deed::kEarly && !broken) {
        early_ = true;
        serve(reader_.current(), false);
      } else if (const std::string* expect = reader_.current().find("expect")) {
        if (*expect != "100-continue") ledger_.violation("expect was changed");
        if (reader_.current().body.empty() && !sent_continue_) {
          sent_continue_ = true;
          network_.send(*this, "HTTP/1.1 100 Continue\r\n\r\n");
        }
      }
    }
    if (!reader_.take(request)) return;
    sent_continue_ = false;
    if (std::exchange(early_, false)) {
      gone_ = true;  // an early answer ends this connection
      network_.finish(*this);
      return;
    }
    begin_request(request);
    serve(request, true);
    reader_.feed({});
  }
}

void Origin::on_finished() {
  end_request();
  if (gone_) return;
  gone_ = true;
  network_.finish(*this);
}

void Origin::on_reset() {
  end_request();
  gone_ = true;
}

void Origin::restart() {
  if (gone_ || served_ == 0 || slow_answers_ > 0 || !reader_.is_idle()) return;
  gone_ = true;
  network_.finish(*this);
}

void Origin::serve(const HttpMessage& request, bool body_checked) {
  ++served_;
  const Wish wish = read_wish(request.start);
  if (!wish.valid) {
    ledger_.violation("origin got a target nobody sent: " + request.start);
    return;
  }
  const std::string method = request.start.substr(0, request.start.find(' '));
  const std::string* host = request.find("host");
  const bool mirrored = host != nullptr && host->ends_with("-shadow");
  const uint32_t times = mirrored ? 0 : ++ledger_.seen_by_origins[wish.id];
  if (times > 1 && method == "POST") {
    ledger_.violation("POST " + std::to_string(wish.id) + " arrived twice");
  }
  const std::string* length = request.find("x-body-size");
  if (body_checked && length != nullptr &&
      (std::to_string(request.body.size()) != *length ||
       request.body != pattern(wish.id + 1, request.body.size()))) {
    ledger_.violation("request body of " + std::to_string(wish.id) + " is not what was sent");
  }
  const bool head = method == "HEAD";
  if (broken) {
    answer(Deed::kError, wish.id, wish.size, head);
    return;
  }
  if (wish.deed == Deed::kSlow) {
    ++slow_answers_;
    network_.later(std::chrono::milliseconds(40), [this, wish, head] {
      --slow_answers_;
      if (!gone_) answer(Deed::kLength, wish.id, wish.size, head);
    });
    return;
  }
  answer(wish.deed, wish.id, wish.size, head);
}

void Origin::send_body(uint64_t id, size_t size, bool chunked) {
  const std::string body = pattern(id, size);
  if (!chunked) {
    network_.send(*this, body);
    return;
  }
  for (size_t at = 0; at < size; at += kPiece) {
    const std::string piece = body.substr(at, kPiece);
    char line[32];
    const int n = std::snprintf(line, sizeof(line), "%zx\r\n", piece.size());
    network_.send(*this, std::string(line, static_cast<size_t>(n)) + piece + "\r\n");
  }
}

void Origin::answer(Deed deed, uint64_t id, size_t size, bool head) {
  // Nothing happens between here and the last byte, except where none is sent.
  const bool never_ends =
      deed == Deed::kHang || deed == Deed::kGarbage || (deed == Deed::kCutChunked && !head);
  if (!never_ends) end_request();
  const std::string mark = "x-id: " + std::to_string(id) + "\r\n";
  const std::string length = "Content-Length: " + std::to_string(size) + "\r\n";
  const std::string ok = "HTTP/1.1 200 OK\r\n" + mark;
  switch (deed) {
    case Deed::kInterim:
      network_.send(*this, "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
      [[fallthrough]];
    case Deed::kLength:
    case Deed::kSlow:
    case Deed::kEarly:
    case Deed::kStale:
      network_.send(*this, ok + length + "\r\n");
      if (!head) send_body(id, size, false);
      if (deed == Deed::kStale) {
        gone_ = true;
        network_.finish(*this);
      }
      return;
    case Deed::kError:
      network_.send(*this, "HTTP/1.1 503 Service Unavailable\r\n" + mark + length + "\r\n");
      if (!head) send_body(id, size, false);
      return;
    case Deed::kClose:
      network_.send(*this, ok + length + "Connection: close\r\n\r\n");
      if (!head) send_body(id, size, false);
      break;
    case Deed::kChunked:
      network_.send(*this, ok + "Transfer-Encoding: chunked\r\n\r\n");
      if (head) return;
      send_body(id, size, true);
      network_.send(*this, "0\r\n\r\n");
      return;
    case Deed::kUntilClose:
      // Without a body there is nothing that FIN could delimit: then it must be announced.
      network_.send(*this, ok + (head ? "Connection: close\r\n\r\n" : "\r\n"));
      if (!head) send_body(id, size, false);
      break;
    case Deed::kCut:
      network_.send(*this, ok + "Content-Length: " + std::to_string(size + 10) + "\r\n\r\n");
      if (!head) send_body(id, size, false);
      break;
    case Deed::kCutChunked:
      network_.send(*this, ok + "Transfer-Encoding: chunked\r\n\r\n");
      if (!head) send_body(id, size, true);
      gone_ = true;
      network_.later(std::chrono::milliseconds(1 + static_cast<int>(network_.rng().below(20))),
                     [this] { network_.reset(*this); });
      return;
    case Deed::kReset:
      gone_ = true;
      network_.reset(*this);
      return;
    case Deed::kGarbage:
      network_.send(*this, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
      return;
    case Deed::kHang:
      return;
  }
  gone_ = true;
  network_.finish(*this);
}

// ---- Client ----------------------------------------------------------------------------------

Client::Client(SimNetwork& network, Ledger& ledger, std::vector<Plan> plans)
    : network_(network), ledger_(ledger), waiting_(plans.begin(), plans.end()) {}

void Client::start() {
  do {
    send_next();
  } while (pipelines && !waiting_.empty() && !ended_ && !body_owed_);
}

void Client::send_next() {
  if (ended_ || waiting_.empty()) return;
  Plan plan = waiting_.front();
  waiting_.pop_front();
  if (old) plan.chunked = plan.expect = false;  // unknown to HTTP/1.0
  sent_.push_back(plan);
  ledger_.callers[plan.id] = caller;
  ++ledger_.asked;
  std::string head = plan.method + " /s/" + std::to_string(plan.id) + "/" +
                     std::to_string(plan.answer_size) + "/" + static_cast<char>(plan.deed) +
                     (old ? " HTTP/1.0\r\nHost: sim\r\n" : " HTTP/1.1\r\nHost: sim\r\n");
  const bool body = plan.method == "POST" || plan.method == "PUT";
  if (body) {
    head += "x-body-size: " + std::to_string(plan.body_size) + "\r\n";
    head += plan.chunked ? "Transfer-Encoding: chunked\r\n"
                         : "Content-Length: " + std::to_string(plan.body_size) + "\r\n";
    if (plan.expect) head += "Expect: 100-continue\r\n";
  }
  network_.send(*this, head + "\r\n");
  body_owed_ = body && plan.expect;
  if (body && !plan.expect) send_body(plan);
  if (waiting_.empty() && finishes && !body_owed_) network_.finish(*this);
  if (network_.rng().below(100) < leave_percent) {
    network_.later(std::chrono::milliseconds(network_.rng().below(60)), [this] {
      if (ended_) return;
      network_.reset(*this);
    });
  }
}

void Client::send_body(const Plan& plan) {
  body_owed_ = false;
  const std::string body = pattern(plan.id + 1, plan.body_size);
  if (!plan.chunked) {
    network_.send(*this, body);
    return;
  }
  for (size_t at = 0; at < body.size(); at += kPiece) {
    const std::string piece = body.substr(at, kPiece);
    char line[32];
    const int n = std::snprintf(line, sizeof(line), "%zx\r\n", piece.size());
    network_.send(*this, std::string(line, static_cast<size_t>(n)) + piece + "\r\n");
  }
  network_.send(*this, "0\r\n\r\n");
}

void Client::on_bytes(std::string_view bytes) {
  if (ended_) return;
  while (!ended_) {
    // Every answer belongs to the oldest request that has none; interim answers do not count.
    if (!sent_.empty()) reader_.expect_head_response(sent_.front().method == "HEAD");
    if (!reader_.feed(bytes)) {
      ledger_.violation("client read a broken answer: " + reader_.error());
      end(false);
      return;
    }
    bytes = {};
    HttpMessage answer;
    if (!reader_.take(answer)) return;
    if (sent_.empty()) {
      // Only a 408 may come to a client that waits for nothing; none of these sends half a head.
      ledger_.violation("an answer that nobody asked for: " + answer.start);
      return;
    }
    if (answer.status < 200) {
      if (answer.status == 100 && body_owed_) send_body(sent_.back());
      continue;
    }
    check(answer);
  }
}

void Client::check(const HttpMessage& answer) {
  const Plan plan = sent_.front();
  sent_.pop_front();
  ++ledger_.by_status[answer.status];
  const std::string* id = answer.find("x-id");
  const std::string* server = answer.find("server");
  const std::string* connection = answer.find("connection");
  closing_ = old || (connection != nullptr && *connection == "close");
  if (id == nullptr) {
    if (server == nullptr || *server != "nodeproxy") {
      ledger_.violation("an answer from nowhere: " + answer.start);
    }
    if (ledger_.clean) ledger_.violation("own answer in a clean world: " + answer.start);
    ++ledger_.own_answers;
    if (answer.find("x-envoy-overloaded") != nullptr) ++ledger_.overloaded;
  } else {
    if (*id != std::to_string(plan.id)) {
      ledger_.violation("answer for " + *id + " given to " + std::to_string(plan.id));
    }
    const size_t size = plan.method == "HEAD" ? 0 : plan.answer_size;
    // An origin that only fails does so whatever it was asked for.
    if (is_cut(plan.deed) && plan.method != "HEAD" && answer.status == 200) {
      ledger_.violation("a cut body ended cleanly: " + std::to_string(plan.id));
    }
    if (answer.body != pattern(plan.id, size)) {
      ledger_.violation("answer body of " + std::to_string(plan.id) + " differs");
    }
    ++ledger_.answered;
  }
  if (body_owed_) closing_ = true;  // refused before the body
  if (closing_) {
    network_.finish(*this);
    return;
  }
  if (!pipelines) send_next();
  if (waiting_.empty() && sent_.empty() && !finishes) network_.finish(*this);
}

void Client::on_finished() {
  if (ended_) return;
  reader_.finish();
  HttpMessage answer;
  if (!sent_.empty() && reader_.take(answer)) check(answer);
  end(true);
}

void Client::on_reset() {
  if (ended_) return;
  end(false);
}

void Client::end(bool clean_end) {
  ended_ = true;
  ledger_.cut += sent_.size();
  if (clean_end && ledger_.clean && !sent_.empty() && !closing_) {
    ledger_.violation("connection ended before the answer to " + std::to_string(sent_.front().id) +
                      " " + sent_.front().method + " " + static_cast<char>(sent_.front().deed) +
                      " in a clean world; " + std::to_string(sent_.size()) + " unanswered" +
                      (pipelines ? " pipelined" : "") + (finishes ? " finishes" : "") +
                      (reader_.has_head() ? " in the answer" : ""));
  }
  if (clean_end) network_.finish(*this);
}

// ---- websocket -------------------------------------------------------------------------------

void WebsocketOrigin::on_bytes(std::string_view bytes) {
  if (switched_) {
    network_.send(*this, bytes);
    return;
  }
  head_.append(bytes);
  const size_t end = head_.find("\r\n\r\n");
  if (end == std::string::npos) return;
  switched_ = true;
  network_.send(*this,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\n\r\n");
  network_.send(*this, head_.substr(end + 4));
}

void WebsocketClient::start() {
  ++ledger_.asked;
  // The bytes right behind the head must wait for the tunnel, and the FIN with them.
  network_.send(*this,
                "GET /ws HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\n\r\n" +
                    pattern(id_, size_));
  network_.finish(*this);
}

void WebsocketClient::on_finished() {
  if (ended_) return;
  ended_ = true;
  const size_t end = got_.find("\r\n\r\n");
  const bool switched = got_.starts_with("HTTP/1.1 101 ") && end != std::string::npos;
  if (switched && got_.substr(end + 4) == pattern(id_, size_)) {
    ++ledger_.answered;
    return;
  }
  if (!ledger_.clean && got_.starts_with("HTTP/1.1 50")) {
    count_refusals();
    return;
  }
  if (got_.empty() && !ledger_.clean) {
    ++ledger_.cut;  // closed as idle by a drain, before the request was read
    return;
  }
  ledger_.violation("websocket ended cleanly but is not whole: " + got_.substr(0, 60));
}

// What it sent ahead of an answer that was not 101 was read as one more request, and refused too.
void WebsocketClient::count_refusals() {
  for (size_t at = got_.find("HTTP/1.1 "); at != std::string::npos;) {
    ++ledger_.own_answers;
    at = got_.find("HTTP/1.1 ", at + 1);
  }
}

void WebsocketClient::on_reset() {
  if (!ended_) {
    ++ledger_.cut;
    if (got_.starts_with("HTTP/1.1 50")) count_refusals();
  }
  if (!ended_ && ledger_.clean) ledger_.violation("websocket reset in a clean world");
  ended_ = true;
}

// ---- echo ------------------------------------------------------------------------------------

void EchoOrigin::on_open() {
  open_ = true;
  ledger_.open_tcp.begin();
  network_.send(*this, greeting_);
}

void EchoOrigin::on_finished() {
  network_.finish(*this);
  end();
}

void EchoOrigin::end() {
  if (std::exchange(open_, false)) ledger_.open_tcp.end();
}

EchoClient::EchoClient(SimNetwork& network, Ledger& ledger, uint64_t id, size_t size,
                       std::string greeting)
    : network_(network), ledger_(ledger), id_(id), size_(size), greeting_(std::move(greeting)) {}

void EchoClient::start() {
  network_.send(*this, pattern(id_, size_));
  network_.finish(*this);
}

void EchoClient::on_finished() {
  if (ended_) return;
  ended_ = true;
  if (got_ != greeting_ + pattern(id_, size_)) {
    ledger_.violation(
        "opaque stream ended cleanly but is not whole: " + std::to_string(got_.size()) + " of " +
        std::to_string(size_ + greeting_.size()));
  }
}

void EchoClient::on_reset() {
  if (!ended_ && ledger_.clean) ledger_.violation("opaque stream reset in a clean world");
  ended_ = true;
}

}  // namespace np::sim
