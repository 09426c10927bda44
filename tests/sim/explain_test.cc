// SPDX-License-Identifier: Apache-2.0
// explain() agrees with the engine: requests made up from a seed under policies made up from a seed
// are explained, then sent through a real Engine, and what became of them must be what was said.
// What is drawn at random must be among what was said to be possible.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "policy/compile.h"
#include "policy/explain.h"
#include "policy/object.h"
#include "proxy/end_reason.h"
#include "proxy/retry.h"
#include "tests/sim/explain_policies.h"
#include "tests/support/engine_rig.h"

namespace np::sim {
namespace {

using policy::ExplainedDestination;
using policy::Explanation;
using proxy::EndReason;
using test::EngineRig;
using Outcome = Explanation::Outcome;
using Way = policy::ExplainedCall::Way;

constexpr uint32_t kRequests = 10'000;
constexpr uint32_t kPolicies = 260;
constexpr uint32_t kRequestsPerPolicy = 40;

// What the engine tells of a request that has ended.
class Listener final : public RequestObserver {
 public:
  void on_policy() override {}
  ClusterCounters& cluster_counters(std::string_view name) override {
    return counters_[std::string(name)];
  }
  void on_opened(const RequestReport&, const ReportSource&) override {}
  void on_ended(const RequestReport& report, const ReportSource& source) override {
    RequestTexts texts;
    source.describe(texts);
    last = report;
    object = texts.object;
    endpoint = texts.endpoint;
    ++count;
  }
  RequestReport last;
  std::string object;
  SocketAddress endpoint;
  uint32_t count = 0;

 private:
  std::map<std::string, ClusterCounters> counters_;
};

// How endpoints behave to one request.
enum class Plan : uint8_t { kAnswer, kFail, kSilent };

struct Sent {
  RequestReport report;
  std::string object;
  SocketAddress endpoint;
  SocketAddress connected;    // of the first try; port 0: none
  std::string upstream_head;  // what the endpoint was sent
  std::string answer;
};

// One policy, compiled from its text and loaded into an engine.
class Stage {
 public:
  explicit Stage(const std::string& yaml) {
    policy::Diagnostics diagnostics;
    const auto objects = policy::parse_objects(yaml, {"made-up.yaml", "default"}, diagnostics);
    model_ = policy::load_model(objects, diagnostics);
    for (const policy::Diagnostic& one : diagnostics) {
      if (one.level == policy::Diagnostic::Level::kError) problem += one.to_string() + "\n";
    }
    policy::CompileInput input;
    input.model = &model_;
    input.generation = 1;
    input.now = rig_.now();
    snapshot_ = policy::compile(input, ids_);
    test::PolicyFixture fixture;
    fixture.snapshot = std::const_pointer_cast<policy::Snapshot>(snapshot_);
    rig_.use(fixture);
  }

  std::unique_ptr<Explanation> explain(const policy::QuestionText& text) {
    auto question = policy::read_question(text);
    EXPECT_TRUE(question.has_value()) << (question ? "" : question.error().to_string());
    return policy::explain({snapshot_, &model_, std::move(question).value(), rig_.now()});
  }

  Sent send(const Explanation& said, Plan plan) {
    // Budgets of repeats look back 10 s; the test is about one request at a time.
    rig_.advance(std::chrono::seconds(30));
    const std::string peer = said.call.peer.to_string() + ":40000";
    const std::string local = said.call.local.to_string();
    EngineRig::Socket& client = said.call.way == Way::kGateway ? rig_.connect_gateway(local, peer)
                                                               : rig_.connect_captured(local, peer);
    const size_t first = rig_.upstreams().size();
    const uint32_t heard = listener_.count;
    rig_.send(client, head_of(said.question));
    Sent sent;
    size_t served = first;
    for (int step = 0; step < 200 && listener_.count == heard; ++step) {
      if (served < rig_.upstreams().size()) {
        serve(rig_.upstream(served++), plan, sent);
      } else {
        rig_.advance(rig_.engine().next_deadline() - rig_.now());
      }
    }
    EXPECT_EQ(listener_.count, heard + 1) << "it never ended";
    sent.report = listener_.last;
    sent.object = listener_.object;
    sent.endpoint = listener_.endpoint;
    sent.answer = rig_.take(client);
    if (!client.closed) rig_.finish(client);
    return sent;
  }

  std::string problem;

 private:
  static std::string head_of(const policy::ExplainQuestion& question) {
    std::string head = question.method + " " + question.target +
                       " HTTP/1.1\r\nHost: " + question.authority + "\r\nConnection: close\r\n";
    if (question.method == "POST" || question.method == "PUT") head += "Content-Length: 0\r\n";
    for (const auto& [name, value] : question.headers) head += name + ": " + value + "\r\n";
    return head + "\r\n";
  }

  void serve(EngineRig::Socket& upstream, Plan plan, Sent& sent) {
    if (sent.connected.port == 0) sent.connected = upstream.target.remote;
    rig_.open(upstream);
    if (sent.upstream_head.empty()) sent.upstream_head = rig_.take(upstream);
    if (plan == Plan::kSilent || upstream.closed) return;
    rig_.send(upstream,
              plan == Plan::kAnswer
                  ? "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                  : "HTTP/1.1 503 Down\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    if (!upstream.closed) rig_.finish(upstream);
  }

  Listener listener_;
  EngineRig rig_{listener_, TraceOptions{}};
  policy::Model model_;
  policy::IdTable ids_;
  std::shared_ptr<const policy::Snapshot> snapshot_;
};

// ---- comparing -------------------------------------------------------------------------------

class Judge {
 public:
  Judge(const Explanation& said, const Sent& sent, Plan plan)
      : said_(said), sent_(sent), plan_(plan) {}

  // In the order of the engine. Ends where the request ended.
  void run() {
    check_trace();
    if (said_.match.route == nullptr) return check_no_route();
    EXPECT_EQ(report().route_id, said_.match.route->id);
    EXPECT_EQ(sent_.object, said_.match.route->object);
    if (!find_destination()) return;
    check_delay();
    if (ended_by_abort()) return;
    if (!destination_->checks.empty() && destination_->checks.front().denial != nullptr) {
      EXPECT_EQ(reason(), EndReason::kDenied);
      EXPECT_EQ(report().status, destination_->checks.front().denial->status);
      return note("denied");
    }
    if (said_.outcome != Outcome::kForward) return check_own_answer();
    check_forwarded();
  }
  const std::string& kind() const { return kind_; }

 private:
  const RequestReport& report() const { return sent_.report; }
  EndReason reason() const { return static_cast<EndReason>(sent_.report.reason); }
  void note(std::string kind) { kind_ = std::move(kind); }

  void check_trace();
  void check_no_route();
  bool find_destination();
  void check_delay();
  bool ended_by_abort();
  void check_own_answer();
  void check_forwarded();
  void check_upstream_head();
  void check_end();

  const Explanation& said_;
  const Sent& sent_;
  const Plan plan_;
  const ExplainedDestination* destination_ = nullptr;
  std::string kind_;
};

// Each rule before the one that matched says why it did not.
void Judge::check_trace() {
  const auto& trials = said_.trace.trials;
  for (size_t i = 0; i < trials.size(); ++i) {
    const bool is_last = i + 1 == trials.size();
    const bool matched = is_last && !said_.trace.is_default;
    EXPECT_EQ(trials[i].mismatch.empty(), matched) << "rule " << i << ": " << trials[i].wants;
    if (matched) {
      EXPECT_EQ(trials[i].route, said_.match.route);
    }
  }
}

void Judge::check_no_route() {
  EXPECT_EQ(report().route_id, 0U);
  if (said_.outcome == Outcome::kBadPath) {
    EXPECT_EQ(reason(), EndReason::kBadPath);
    EXPECT_EQ(report().status, 400);
    return note("bad path");
  }
  EXPECT_EQ(said_.outcome, Outcome::kNoRoute);
  EXPECT_EQ(reason(), EndReason::kNoRoute);
  EXPECT_EQ(report().status, 404);
  note("no route");
}

// The one that was drawn must have had a chance.
bool Judge::find_destination() {
  for (const ExplainedDestination& one : said_.destinations) {
    const uint32_t id = one.cluster() == nullptr ? 0 : one.cluster()->id;
    if (one.share > 0 && id == report().cluster_id) destination_ = &one;
  }
  EXPECT_NE(destination_, nullptr) << "cluster " << report().cluster_id << " had no chance";
  return destination_ != nullptr;
}

void Judge::check_delay() {
  const policy::Fault* fault = destination_->fault.fault;
  const bool may = fault != nullptr && fault->delay && fault->delay->per_million > 0;
  const bool must = may && fault->delay->per_million == policy::kPerMillion;
  const Duration seen = report().delay;
  if (!may) {
    EXPECT_EQ(seen, Duration::zero());
  }
  if (must) {
    EXPECT_GT(seen, Duration::zero());
  }
  if (seen == Duration::zero()) return;
  const policy::DelayShape& shape = fault->delay->shape;
  EXPECT_GE(seen, shape.a);
  EXPECT_LE(seen, shape.kind == policy::DelayShape::Kind::kFixed ? shape.a : shape.b);
}

bool Judge::ended_by_abort() {
  const policy::Fault* fault = destination_->fault.fault;
  const bool may = fault != nullptr && fault->abort && fault->abort->per_million > 0;
  const bool must = may && fault->abort->per_million == policy::kPerMillion;
  const uint16_t seen = report().fault_status;
  if (!may) {
    EXPECT_EQ(seen, 0);
  }
  if (must) {
    EXPECT_NE(seen, 0);
  }
  if (seen == 0) return false;
  if (!may) return true;  // told above
  const uint16_t status = fault->abort->http_status;
  EXPECT_EQ(seen, status == 0 ? RequestReport::kFaultReset : status);
  EXPECT_EQ(reason(), status == 0 ? EndReason::kFaultReset : EndReason::kFaultAbort);
  EXPECT_EQ(report().status, status);
  note(destination_->fault.host != nullptr ? "abort of a TrafficPolicy" : "abort of a route");
  return true;
}

void Judge::check_own_answer() {
  const policy::Route& route = *said_.match.route;
  switch (said_.outcome) {
    case Outcome::kPreflight:
      EXPECT_EQ(reason(), EndReason::kPreflight);
      EXPECT_EQ(report().status, 200);
      return note("preflight");
    case Outcome::kRedirect:
      EXPECT_EQ(reason(), EndReason::kRedirect);
      EXPECT_EQ(report().status, route.redirect->status);
      EXPECT_NE(sent_.answer.find("\r\nlocation: " + said_.location + "\r\n"), std::string::npos)
          << sent_.answer << "\nsaid " << said_.location;
      return note("redirect");
    case Outcome::kDirectResponse:
      EXPECT_EQ(reason(), EndReason::kDirectResponse);
      EXPECT_EQ(report().status, route.direct_response->status);
      return note("direct response");
    default:
      ADD_FAILURE() << "no such outcome can come here";
  }
}

void Judge::check_forwarded() {
  const policy::Cluster* cluster = destination_->cluster();
  if (cluster == nullptr) {
    EXPECT_EQ(reason(), EndReason::kNoCluster);
    EXPECT_EQ(report().status, 503);
    return note("no cluster");
  }
  if (cluster->original_destination) {
    EXPECT_EQ(sent_.connected, said_.call.local);
    check_upstream_head();
    check_end();
    return note("forwarded as dialled");
  }
  if (cluster->endpoints.empty()) {
    EXPECT_EQ(reason(), EndReason::kNoHealthyUpstream);
    EXPECT_EQ(report().status, 503);
    return note("no endpoint");
  }
  bool is_listed = false;
  for (const policy::Endpoint& endpoint : cluster->endpoints) {
    is_listed = is_listed || endpoint.address == sent_.connected;
  }
  EXPECT_TRUE(is_listed) << sent_.connected.to_string() << " is none of " << cluster->name;
  if (destination_->hashed_endpoint) {
    EXPECT_EQ(sent_.connected, cluster->endpoints[*destination_->hashed_endpoint].address);
  }
  check_upstream_head();
  check_end();
  note(said_.match.route->object.empty()     ? "forwarded by default"
       : said_.call.way == Way::kGateway     ? "forwarded at a gateway"
       : said_.match.route->object[0] == 'R' ? "forwarded by the old API"
                                             : "forwarded by today's API");
}

void Judge::check_upstream_head() {
  const std::string start = said_.question.method + " " + said_.path + " HTTP/1.1\r\n";
  EXPECT_EQ(sent_.upstream_head.substr(0, start.size()), start);
  EXPECT_NE(sent_.upstream_head.find("\r\nhost: " + said_.authority + "\r\n"), std::string::npos)
      << sent_.upstream_head << "\nsaid " << said_.authority;
}

// Timeout and repeats, as the endpoints' behaviour brings them about.
void Judge::check_end() {
  const policy::CallTerms& terms = said_.terms;
  const policy::Retry& retry = said_.match.route->retry;
  if (plan_ == Plan::kAnswer) {
    EXPECT_EQ(reason(), EndReason::kCompleted);
    EXPECT_EQ(report().status, 200);
    EXPECT_EQ(report().retries, 0U);
    return;
  }
  if (plan_ == Plan::kFail) {
    const bool repeats =
        (proxy::answer_conditions(retry, 503, {}) & terms.retry_on) != 0 &&
        (retry.allow_non_idempotent || policy::is_idempotent(said_.question.method));
    if (repeats && reason() == EndReason::kRouteTimeout) {  // while it waited for the next try
      EXPECT_EQ(report().ended - report().started - report().delay, terms.timeout);
      EXPECT_LE(report().retries, terms.retries);
      return;
    }
    EXPECT_EQ(report().status, 503);
    EXPECT_EQ(report().retries, repeats ? terms.retries : 0U);
    return;
  }
  const Duration took = report().ended - report().started - report().delay;
  if (terms.timeout > Duration::zero()) {
    EXPECT_LE(took, terms.timeout);
  }
  EXPECT_LE(report().retries, terms.retries);
  if (reason() == EndReason::kRouteTimeout) {
    EXPECT_EQ(took, terms.timeout);
  }
  if (terms.per_try_timeout == Duration::zero()) {
    EXPECT_EQ(reason(), EndReason::kRouteTimeout);
  }
  if (reason() == EndReason::kPerTryTimeout) {
    EXPECT_GE(took, terms.per_try_timeout * (report().retries + 1));
  }
  EXPECT_EQ(report().status, 504);
}

Plan make_plan(const Explanation& said, Rng& dice) {
  // An ejection would outlive the request; that part is told by who keeps it, not by explain().
  for (const ExplainedDestination& one : said.destinations) {
    if (one.cluster() != nullptr && one.cluster()->outlier) return Plan::kAnswer;
  }
  const uint32_t draw = dice.below(4);
  if (draw == 0) return Plan::kFail;
  const bool ends =
      said.terms.timeout > Duration::zero() || said.terms.per_try_timeout > Duration::zero();
  return draw == 1 && ends ? Plan::kSilent : Plan::kAnswer;
}

std::string text_of(const policy::QuestionText& text) {
  std::string out = text.method + " " + text.path + " from " + text.from + " to " + text.to;
  for (const std::string& header : text.headers) out += ", " + header;
  return out;
}

TEST(ExplainAgrees, WithTheEngine) {
  std::map<std::string, uint32_t> seen;
  uint32_t sent_in_all = 0;
  for (uint32_t seed = 1; seed <= kPolicies && !::testing::Test::HasFailure(); ++seed) {
    PolicyMaker maker(seed);
    const std::string yaml = maker.world();
    Stage stage(yaml);
    ASSERT_EQ(stage.problem, "") << "seed " << seed << yaml;
    Rng dice(seed);
    for (uint32_t i = 0; i < kRequestsPerPolicy; ++i) {
      const policy::QuestionText text = maker.question();
      const auto said = stage.explain(text);
      if (said->call.way == Way::kDirect) {  // a name that no gateway lists is nobody's here
        ASSERT_EQ(text.to, "shop.example.com:8080");
        ++seen["direct"];
        continue;
      }
      const Plan plan = make_plan(*said, dice);
      const Sent sent = stage.send(*said, plan);
      Judge judge(*said, sent, plan);
      judge.run();
      ++seen[judge.kind()];
      ++sent_in_all;
      if (said->is_sticky) ++seen["sticky"];
      if (sent.report.delay > Duration::zero()) ++seen["delayed"];
      if (sent.report.retries > 0) ++seen["repeated"];
      ASSERT_FALSE(::testing::Test::HasFailure())
          << "seed " << seed << ", request " << i << ": " << text_of(text) << "\n"
          << yaml;
    }
  }
  EXPECT_GE(sent_in_all, kRequests);
  // Each of these must have been met, or the agreement says little.
  for (const char* kind :
       {"no route", "bad path", "denied", "abort of a TrafficPolicy", "abort of a route",
        "preflight", "redirect", "direct response", "no cluster", "no endpoint",
        "forwarded as dialled", "forwarded by default", "forwarded at a gateway",
        "forwarded by the old API", "forwarded by today's API", "sticky", "delayed", "repeated"}) {
    EXPECT_GE(seen[kind], 20U) << kind;
    RecordProperty(kind, static_cast<int>(seen[kind]));
  }
}

}  // namespace
}  // namespace np::sim
