// SPDX-License-Identifier: Apache-2.0
// The whole engine between a hostile client and a hostile endpoint. Input: two bytes of policy,
// then operations: one byte what (low 3 bits) and whom (high 5 bits), and what it needs. After each
// input everything is let go of, and nothing may be left: no connection, no timer, no request that
// is not accounted for.
#include <cstdint>
#include <cstdlib>

#include "base/check.h"
#include "tests/support/check_fixture.h"
#include "tests/support/engine_rig.h"

namespace np::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using Socket = EngineRig::Socket;

constexpr const char* kWays[] = {"10.96.0.1:80", "10.96.0.2:3306", "10.96.0.3:7000", "0.0.0.0:80"};

// Whole messages, so that short inputs get far.
constexpr std::string_view kLines[] = {
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    "HEAD /a HTTP/1.0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nbad",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
};

void fill_policy(PolicyFixture& policy, uint8_t first, uint8_t second) {
  policy::Cluster& web = policy.add_cluster("web", {"10.1.0.1:80", "10.1.0.2:80"});
  policy::Route& route = policy.add_route(&web);
  if ((first & 1U) != 0) {
    route.retry.attempts = 2;
    route.retry.on = policy::kRetry5xx | policy::kRetryReset | policy::kRetryConnectFailure;
    route.retry.allow_non_idempotent = (first & 2U) != 0;
  }
  if ((first & 4U) != 0) {
    route.fault.emplace();
    route.fault->delay = policy::Fault::Delay{milliseconds(50), policy::kPerMillion};
    if ((first & 8U) != 0) route.fault->abort = policy::Fault::Abort{500, 500'000};
  }
  if ((first & 16U) != 0) route.timeout = milliseconds(500);
  if ((first & 32U) != 0) route.retry.per_try_timeout = milliseconds(100);
  if ((first & 64U) != 0) route.mirrors.push_back({&web, policy::kPerMillion});
  route.websocket = (first & 128U) != 0;
  if ((second & 1U) != 0) web.pool.max_requests_per_connection = 2;
  if ((second & 2U) != 0) route.request_headers.set = {{"host", "other"}, {"x-a", "b"}};
  if ((second & 12U) != 0) {
    CheckFixture checks(policy);
    if ((second & 4U) != 0) {
      checks.quota(checks.rule(web), "hits", 2, {"request.headers[\"x-a\"]", "source.ip"});
    }
    if ((second & 8U) != 0) {
      checks.deny(checks.rule(web, "request.method == \"PUT\""), 403, "no");
    }
  }
  web.pool.idle_timeout = std::chrono::seconds(30);
  PrefixTable& table = policy.add_table();
  table.entries.push_back({"", &route});
  policy.capture(kWays[0], &table);
  policy::Cluster& db = policy.add_cluster("db", {"10.1.0.3:3306"});
  PrefixTable& tcp = policy.add_table();
  tcp.entries.push_back({"", &policy.add_route(&db)});
  policy.capture(kWays[1], &tcp, policy::Protocol::kTcp);
  policy.capture(kWays[2], &table, policy::Protocol::kAuto).tcp_routes = &tcp;
  policy.listen(kWays[3], &table);
}

class Session {
 public:
  explicit Session(std::string_view input) : input_(input) {}

  void run() {
    PolicyFixture policy;
    const uint8_t first = byte();
    fill_policy(policy, first, byte());
    rig_.use(policy);
    for (int turn = 0; turn < 200 && !input_.empty(); ++turn) operate(policy, byte());
    for (Socket* client : clients_) {
      if (!client->closed) rig_.fail(*client);
    }
    rig_.advance(hours(2));
    NP_CHECK(rig_.is_balanced());
    NP_CHECK(rig_.engine().open_downstream() == 0);
    NP_CHECK(rig_.engine().open_upstream() == 0);
    NP_CHECK(rig_.engine().next_deadline() == kNever);
    for (Socket* origin : rig_.upstreams()) NP_CHECK(origin->closed);
  }

 private:
  uint8_t byte() {
    if (input_.empty()) return 0;
    const auto value = static_cast<uint8_t>(input_.front());
    input_.remove_prefix(1);
    return value;
  }
  Socket* client(uint8_t which) {
    return clients_.empty() ? nullptr : clients_[which % clients_.size()];
  }
  Socket* origin(uint8_t which) {
    const std::vector<Socket*> all = rig_.upstreams();
    if (all.empty()) return nullptr;
    Socket* socket = all[all.size() - 1 - which % std::min<size_t>(all.size(), 4)];
    if (!socket->opened && !socket->closed) rig_.open(*socket);
    return socket;
  }
  std::string_view payload() {
    const uint8_t kind = byte();
    if (kind < 128) return kLines[kind % std::size(kLines)];
    const std::string_view bytes = input_.substr(0, kind - 127U);
    input_.remove_prefix(bytes.size());
    return bytes;
  }

  void operate(const PolicyFixture& policy, uint8_t what) {
    const auto whom = static_cast<uint8_t>(what >> 3U);
    switch (what & 7U) {
      case 0:
        if (clients_.size() >= 8) return;
        clients_.push_back(whom % 4 == 3 ? &rig_.connect_gateway(kWays[3])
                                         : &rig_.connect_captured(kWays[whom % 4]));
        return;
      case 1:
        if (Socket* socket = client(whom)) rig_.send(*socket, payload());
        return;
      case 2:
        if (Socket* socket = origin(whom)) rig_.send(*socket, payload());
        return;
      case 3:
        if (Socket* socket = (whom & 1U) != 0 ? client(whom / 2) : origin(whom / 2)) {
          if (!std::exchange(finished_[socket], true)) rig_.finish(*socket);
        }
        return;
      case 4:
        if (Socket* socket = (whom & 1U) != 0 ? client(whom / 2) : origin(whom / 2)) {
          rig_.fail(*socket);
        }
        return;
      case 5:
        rig_.advance(milliseconds(1U << (whom % 18)));
        return;
      case 6:
        if (Socket* socket = (whom & 1U) != 0 ? client(whom / 2) : origin(whom / 2)) {
          if (socket->hold) {
            rig_.release(*socket);
          } else {
            socket->hold = true;
          }
        }
        return;
      case 7:
        if (whom == 31) {
          rig_.drain();
        } else if (whom == 30) {
          rig_.use(PolicyFixture());
        } else {
          rig_.use(policy);
        }
        return;
      default:
        return;
    }
  }

  std::string_view input_;
  EngineRig rig_;
  std::vector<Socket*> clients_;
  std::map<Socket*, bool> finished_;
};

}  // namespace
}  // namespace np::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  np::test::Session({reinterpret_cast<const char*>(data), size}).run();
  return 0;
}
