// SPDX-License-Identifier: Apache-2.0
// Mixer's objects from YAML to the checks of each cluster: names, scopes, bindings, overrides, and
// what is said about objects that cannot act.
#include "policy/compile.h"
#include "policy/quota.h"
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

constexpr char kRules[] = "apiVersion: config.istio.io/v1alpha2\nkind: ";

// Bookinfo in istio-system, and a service of another namespace.
constexpr char kRegistry[] = R"(
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: istio-system}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: istio-system}
spec: {clusterIP: 10.96.0.2, selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: stars, namespace: istio-system}
spec: {clusterIP: 10.96.0.3, selector: {app: ratings}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.4, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v3, namespace: istio-system, labels: {app: reviews, version: v3}}
status: {podIP: 10.1.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: ratings-v1, namespace: istio-system, labels: {app: ratings, version: v1}}
spec: {serviceAccountName: bookinfo}
status: {podIP: 10.1.0.4}
---
apiVersion: v1
kind: Pod
metadata: {name: ratings-v2, namespace: istio-system, labels: {app: ratings, version: v2}}
spec: {serviceAccountName: bookinfo}
status: {podIP: 10.1.0.5}
---
)";

constexpr char kRatingsCluster[] = "outbound|9080||ratings.istio-system.svc.cluster.local";
constexpr char kReviewsCluster[] = "outbound|9080||reviews.istio-system.svc.cluster.local";
constexpr char kWeb[] = "outbound|80||web.shop.svc.cluster.local";

std::string mixer(const std::string& kind, const std::string& name, const std::string& spec,
                  const std::string& ns = "istio-system") {
  return kRules + kind + "\nmetadata: {name: " + name + ", namespace: " + ns + "}\nspec: " + spec +
         "\n---\n";
}

const std::string kQuota = mixer("quota", "hits", "{dimensions: {path: request.path}}");
const std::string kHandler =
    mixer("memquota", "handler", "{quotas: [{name: hits.quota, maxAmount: 5, validDuration: 1s}]}");
const std::string kRule =
    mixer("rule", "limit", "{actions: [{handler: handler.memquota, instances: [hits.quota]}]}");

class CheckCompile : public ::testing::Test {
 protected:
  void use(const std::string& yaml) {
    loaded = load(kRegistry + yaml, "istio-system");
    ASSERT_FALSE(has_errors(loaded.diagnostics)) << loaded.text();
    snapshot = compile({&loaded.model, nullptr, 1, instant_from_ns(1)}, ids);
  }
  const ClusterChecks* checks(const std::string& cluster) const {
    for (const auto& candidate : snapshot->clusters) {
      if (candidate->name == cluster) return candidate->checks;
    }
    ADD_FAILURE() << "no cluster " << cluster;
    return nullptr;
  }
  // The charges of the cluster's quotas for a GET of "/", as "name:amount", in order.
  std::string charged(const std::string& cluster) const {
    const ClusterChecks* found = checks(cluster);
    if (found == nullptr) return "nothing";
    std::string out;
    for (const CheckRule& rule : found->rules) {
      for (const QuotaCheck& check : rule.quotas) {
        int64_t amount = 0;
        for (const QuotaCharge& charge : check.charges) amount += charge.amount;
        if (!out.empty()) out += " ";
        out += check.quota->name + ":" + std::to_string(amount);
      }
      if (!rule.denials.empty()) out += "denied";
    }
    return out;
  }
  std::string says(const std::string& object, Finding::Level level) const {
    std::string out;
    for (const Finding& finding : snapshot->findings) {
      if (finding.origin.to_string() != object || finding.level != level) continue;
      if (!out.empty()) out += "; ";
      out += finding.message;
    }
    return out;
  }
  std::string inactive(const std::string& object) const {
    return says(object, Finding::Level::kInactive);
  }
  std::string warned(const std::string& object) const {
    return says(object, Finding::Level::kWarning);
  }

  Loaded loaded;
  IdTable ids;
  std::shared_ptr<const Snapshot> snapshot;
};

TEST_F(CheckCompile, TheSampleOf051ActsOnWhatItBinds) {
  use(read_sample("istio-v1alpha2/mixer-rule-ratings-ratelimit.yaml"));
  EXPECT_EQ(charged(kRatingsCluster), "requestcount:1");
  EXPECT_EQ(charged(kReviewsCluster), "requestcount:1");
  EXPECT_EQ(checks("outbound|80||stars.istio-system.svc.cluster.local"), nullptr);
  EXPECT_EQ(checks(kWeb), nullptr);
  const Quota& quota = *checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota;
  ASSERT_EQ(quota.overrides.size(), 2U);
  // Dimensions sorted by name: destination, destinationVersion, source, sourceVersion.
  const std::vector<std::pair<uint32_t, std::string>> first = {{0, "ratings"}, {2, "reviews"}};
  EXPECT_EQ(quota.overrides[0].dimensions, first);
  EXPECT_EQ(quota.overrides[0].limit.amount, 1);
  EXPECT_EQ(quota.overrides[1].limit.amount, 100);
  EXPECT_EQ(quota.limit.amount, 5000);
  const CounterWindow second{CounterWindow::Kind::kTicks, 10, std::chrono::milliseconds(100)};
  EXPECT_EQ(quota.limit.window, second);
  EXPECT_EQ(quota.deduplication, std::chrono::seconds(1));
  for (const Object& object : loaded.objects) {
    EXPECT_EQ(inactive(object.id.to_string()), "");
  }
  EXPECT_EQ(says("memquota istio-system/handler", Finding::Level::kScope), "per node");
  // Services that the sample binds and this world does not have.
  EXPECT_EQ(warned("QuotaSpecBinding istio-system/request-count"),
            "no service is known for host details.istio-system.svc.cluster.local; "
            "no service is known for host productpage.istio-system.svc.cluster.local");
}

TEST_F(CheckCompile, TheSampleOf040ActsEverywhere) {
  use(read_sample("istio-v1alpha2/mixer-rule-ratings-ratelimit.0.4.0.yaml"));
  EXPECT_EQ(charged(kRatingsCluster), "requestcount:1");
  EXPECT_EQ(charged("outbound|80||stars.istio-system.svc.cluster.local"), "requestcount:1");
  EXPECT_EQ(charged(kWeb), "requestcount:1");  // rules of istio-system reach every namespace
}

TEST_F(CheckCompile, TheDenialSample) {
  use(read_sample("istio-v1alpha2/mixer-rule-ratings-denial.yaml"));
  ASSERT_EQ(charged(kRatingsCluster), "denied");
  const CheckRule& rule = checks(kRatingsCluster)->rules.at(0);
  EXPECT_EQ(rule.denials.at(0)->status, 403);
  EXPECT_EQ(rule.denials.at(0)->body, "PERMISSION_DENIED:handler.denier.istio-system:Not allowed");
  EXPECT_EQ(rule.match->text(), "request.headers[\"x-user\"] == \"\"");
  for (const char* object : {"denier istio-system/handler", "checknothing istio-system/denyrequest",
                             "rule istio-system/denyreviewsv3"}) {
    EXPECT_EQ(inactive(object), "") << object;
  }
}

TEST_F(CheckCompile, TheOrderOfObjectsDoesNotMatter) {
  use(kRule + kHandler + kQuota);
  EXPECT_EQ(charged(kRatingsCluster), "hits:1");
  use(kQuota + kHandler + kRule);
  EXPECT_EQ(charged(kRatingsCluster), "hits:1");
}

TEST_F(CheckCompile, CodesOfDeniers) {
  const std::string rest =
      mixer("checknothing", "none", "") +
      mixer("rule", "deny", "{actions: [{handler: never.denier, instances: [none.checknothing]}]}");
  const std::pair<int, int> expected[] = {{7, 403}, {16, 401}, {8, 429}, {5, 404},
                                          {3, 400}, {14, 503}, {13, 500}};
  for (const auto& [code, status] : expected) {
    use(mixer("denier", "never", "{status: {code: " + std::to_string(code) + "}}") + rest);
    EXPECT_EQ(checks(kRatingsCluster)->rules.at(0).denials.at(0)->status, status) << code;
  }
  use(mixer("denier", "never", "{status: {code: 16, message: sign in}}") + rest);
  EXPECT_EQ(checks(kRatingsCluster)->rules.at(0).denials.at(0)->body,
            "UNAUTHENTICATED:never.denier.istio-system:sign in");
  use(mixer("denier", "never", "{}") + rest);  // Mixer's default
  EXPECT_EQ(checks(kRatingsCluster)->rules.at(0).denials.at(0)->body,
            "FAILED_PRECONDITION:never.denier.istio-system:");
  use(mixer("denier", "never", "{status: {code: 0}}") + rest);
  EXPECT_EQ(checks(kRatingsCluster), nullptr);
  EXPECT_EQ(inactive("denier istio-system/never"), "its status code is 0 (OK): it refuses nothing");
  EXPECT_EQ(inactive("rule istio-system/deny"), "it has no action that refuses anything");
}

TEST_F(CheckCompile, MissingNamesMakeTheRuleInactiveAndSayWhich) {
  use(kRule + kHandler);
  EXPECT_EQ(inactive("rule istio-system/limit"), "there is no quota istio-system/hits");
  EXPECT_EQ(inactive("memquota istio-system/handler"), "no rule in effect uses it");
  EXPECT_EQ(warned("memquota istio-system/handler"), "there is no quota istio-system/hits");
  EXPECT_EQ(checks(kRatingsCluster), nullptr);
  use(kRule + kQuota);
  EXPECT_EQ(inactive("rule istio-system/limit"), "there is no memquota istio-system/handler");
  EXPECT_EQ(inactive("quota istio-system/hits"), "no rule in effect uses it");
  use(kQuota + mixer("memquota", "handler", "{quotas: []}") + kRule);
  EXPECT_EQ(inactive("rule istio-system/limit"),
            "memquota istio-system/handler has no limit for quota istio-system/hits");
  use(mixer("rule", "other", "{actions: [{handler: a.prometheus, instances: [b.metric]}]}"));
  EXPECT_EQ(inactive("rule istio-system/other"),
            "handlers of kind prometheus are not supported: a.prometheus");
  use(kQuota + kHandler +
      mixer("rule", "x", "{actions: [{handler: handler.memquota, instances: [a.checknothing]}]}"));
  EXPECT_EQ(inactive("rule istio-system/x"), "a memquota takes instances of quota: a.checknothing");
  use(kQuota + kHandler + mixer("rule", "x", "{actions: [{handler: handler.memquota}]}"));
  EXPECT_EQ(inactive("rule istio-system/x"), "the action of handler.memquota names no instance");
  // One name that is missing takes the whole rule out.
  use(kQuota + kHandler +
      mixer("rule", "limit",
            "{actions: [{handler: handler.memquota, instances: [hits.quota]},"
            " {handler: never.denier, instances: [a.checknothing]}]}"));
  EXPECT_EQ(inactive("rule istio-system/limit"), "there is no denier istio-system/never");
  EXPECT_EQ(checks(kRatingsCluster), nullptr);
}

TEST_F(CheckCompile, ShortNamesAreOfTheRulesOwnNamespace) {
  const std::string quota = mixer("quota", "hits", "{dimensions: {}}", "shop");
  const std::string handler =
      mixer("memquota", "handler",
            "{quotas: [{name: hits.quota, maxAmount: 7, validDuration: 1s}]}", "shop");
  const std::string rule = mixer(
      "rule", "limit", "{actions: [{handler: handler.memquota, instances: [hits.quota]}]}", "shop");
  use(kQuota + kHandler + rule);
  EXPECT_EQ(inactive("rule shop/limit"), "there is no memquota shop/handler");
  use(quota + handler + rule);
  EXPECT_EQ(checks(kRatingsCluster), nullptr);  // only services of its own namespace
  ASSERT_EQ(charged(kWeb), "hits:1");
  EXPECT_EQ(checks(kWeb)->rules.at(0).quotas.at(0).quota->limit.amount, 7);
  // Full names reach other namespaces.
  use(kQuota + kHandler +
      mixer("rule", "limit",
            "{actions: [{handler: handler.memquota.istio-system, "
            "instances: [hits.quota.istio-system]}]}",
            "shop"));
  EXPECT_EQ(charged(kWeb), "hits:1");
  EXPECT_EQ(checks(kRatingsCluster), nullptr);
  use(quota + handler +
      mixer("rule", "limit", "{actions: [{handler: handler.memquota, instances: [hits.quota]}]}",
            "empty") +
      mixer("quota", "hits", "{}", "empty") +
      mixer("memquota", "handler", "{quotas: [{name: hits.quota, maxAmount: 1}]}", "empty"));
  EXPECT_EQ(inactive("rule empty/limit"), "no service of namespace empty is known");
}

TEST_F(CheckCompile, BindingsDecideWhatIsChargedAndHowMuch) {
  const std::string base = kQuota + kHandler + kRule;
  const std::string spec =
      mixer("QuotaSpec", "spec", "{rules: [{quotas: [{quota: Hits, charge: 3}]}]}");
  const auto binding = [](const std::string& services, const std::string& specs) {
    return mixer("QuotaSpecBinding", "bind",
                 "{services: " + services + ", quotaSpecs: " + specs + "}");
  };
  use(base + spec + binding("[{name: ratings}]", "[{name: spec}]"));
  EXPECT_EQ(charged(kRatingsCluster), "hits:3");
  EXPECT_EQ(checks(kReviewsCluster), nullptr);
  use(base + spec + binding("[{service: \"*\"}]", "[{name: spec}]"));
  EXPECT_EQ(charged(kWeb), "hits:3");
  use(base + spec + binding("[{name: web, namespace: shop}]", "[{name: spec}]"));
  EXPECT_EQ(charged(kWeb), "hits:3");
  EXPECT_EQ(checks(kRatingsCluster), nullptr);
  // A spec without binding: there is no binding, so everything is charged 1.
  use(base + spec);
  EXPECT_EQ(charged(kRatingsCluster), "hits:1");
  EXPECT_EQ(inactive("QuotaSpec istio-system/spec"), "no QuotaSpecBinding names it");
  // A binding that charges nothing: nothing is charged.
  use(base + binding("[{name: ratings}]", "[{name: spec, namespace: other}]"));
  EXPECT_EQ(checks(kRatingsCluster), nullptr);
  EXPECT_EQ(inactive("QuotaSpecBinding istio-system/bind"), "there is no QuotaSpec other/spec");
  EXPECT_EQ(inactive("rule istio-system/limit"),
            "no QuotaSpecBinding charges hits for a service that it acts on");
  use(base + mixer("QuotaSpec", "spec", "{rules: [{quotas: [{quota: visits}]}]}") +
      binding("[{name: ratings}]", "[{name: spec}]"));
  EXPECT_EQ(warned("QuotaSpec istio-system/spec"), "there is no quota visits");
  // Bound twice is charged once; two rules that name the quota are added up.
  use(base +
      mixer("QuotaSpec", "spec",
            "{rules: [{quotas: [{quota: HITS.quota, charge: 2}]},"
            " {quotas: [{quota: hits.quota.istio-system}]}]}") +
      binding("[{name: ratings}, {service: \"*\"}]", "[{name: spec}, {name: spec}]"));
  EXPECT_EQ(charged(kRatingsCluster), "hits:3");
}

TEST_F(CheckCompile, BindingsKeepLabelsAndClauses) {
  use(kQuota + kHandler + kRule +
      mixer(
          "QuotaSpec", "spec",
          "{rules: [{match: [{clause: {request.path: {prefix: /a}, request.method: {exact: GET}}},"
          " {clause: {source.name: {regex: \"re.*\"}}}], quotas: [{quota: hits}]}]}") +
      mixer("QuotaSpecBinding", "bind",
            "{services: [{name: ratings, labels: {version: v1}}], quotaSpecs: [{name: spec}]}"));
  const QuotaCharge& charge = checks(kRatingsCluster)->rules.at(0).quotas.at(0).charges.at(0);
  EXPECT_EQ(charge.destinations, (std::vector<Labels>{{{"version", "v1"}}}));
  ASSERT_EQ(charge.matches.size(), 2U);
  EXPECT_EQ(charge.matches[0].size(), 2U);
  EXPECT_EQ(charge.matches[1].at(0).attribute, Attribute::kSourceName);
  EXPECT_TRUE(charge.matches[1].at(0).matcher.matches("reviews-v3"));
}

TEST_F(CheckCompile, DestinationIsWhatTheClustersEndpointsShare) {
  use(kQuota + kHandler + kRule);
  const DestinationAttributes& both = checks(kRatingsCluster)->destination;
  EXPECT_EQ(both.labels, (Labels{{"app", "ratings"}}));
  EXPECT_EQ(both.service, "ratings.istio-system.svc.cluster.local");
  EXPECT_EQ(both.ns, "istio-system");
  EXPECT_EQ(both.port, 9080);
  EXPECT_EQ(both.service_account, "bookinfo");
  EXPECT_FALSE(both.ip);
  EXPECT_EQ(both.uid, "");
  const DestinationAttributes& one = checks(kReviewsCluster)->destination;
  EXPECT_EQ(one.labels, (Labels{{"app", "reviews"}, {"version", "v3"}}));
  EXPECT_EQ(one.ip, IpAddress::parse("10.1.0.3"));
  EXPECT_EQ(one.name, "reviews-v3");
  EXPECT_EQ(one.uid, "kubernetes://reviews-v3.istio-system");
}

TEST_F(CheckCompile, SourceServiceIsTheFirstByKey) {
  use("");
  // ratings pods are selected by ratings and by stars.
  EXPECT_EQ(snapshot->find_pod(IpAddress::parse("10.1.0.4").value())->pod.service,
            "ratings.istio-system.svc.cluster.local");
  EXPECT_EQ(snapshot->find_pod(IpAddress::parse("10.1.0.3").value())->pod.service,
            "reviews.istio-system.svc.cluster.local");
}

TEST_F(CheckCompile, IdsSurviveAReplace) {
  use(kQuota + kHandler + kRule);
  const uint32_t before = checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota->id;
  use(kRule + kHandler + kQuota + mixer("quota", "aaa", "{}"));
  EXPECT_EQ(checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota->id, before);
}

TEST_F(CheckCompile, ADeletedLimitBeginsAnew) {
  use(kQuota + kHandler + kRule);
  const uint32_t before = checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota->id;
  use(kQuota + kHandler);
  use(kQuota + kHandler + kRule);
  const uint32_t between = checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota->id;
  EXPECT_NE(between, before);
  use("");
  use(kQuota + kHandler + kRule);
  const uint32_t after = checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota->id;
  EXPECT_NE(after, before);
  EXPECT_NE(after, between);
}

TEST_F(CheckCompile, AnOverrideOfAnUnknownDimensionNeverApplies) {
  use(kQuota + kRule +
      mixer("memquota", "handler",
            "{quotas: [{name: hits.quota, maxAmount: 5, validDuration: 1s, overrides: "
            "[{dimensions: {user: a}, maxAmount: 1, validDuration: 1s}]}]}"));
  EXPECT_TRUE(checks(kRatingsCluster)->rules.at(0).quotas.at(0).quota->overrides.empty());
  EXPECT_EQ(warned("memquota istio-system/handler"),
            "an override never applies: quota istio-system/hits has no dimension user");
}

std::string limit(const std::string& spec) {
  return "apiVersion: nodeproxy.dev/v1\nkind: RateLimit\nmetadata: {name: limit, namespace: "
         "istio-system}\nspec: " +
         spec + "\n---\n";
}

TEST_F(CheckCompile, RateLimitsOfTheirOwnKind) {
  use(
      limit("{services: [{host: ratings}], rules: [{name: a, cost: 2, countBy: [{caller: pod}], "
            "windows: [{requests: 5, per: 1s}, {requests: 9, per: 1m}], bucket: {requests: 4, per: "
            "1s}}]}"));
  EXPECT_EQ(charged(kRatingsCluster), "a:2 a:2 a:2");
  EXPECT_EQ(checks(kReviewsCluster), nullptr);
  EXPECT_EQ(says("RateLimit istio-system/limit", Finding::Level::kScope), "per node");
  const std::vector<QuotaCheck>& quotas = checks(kRatingsCluster)->rules.at(0).quotas;
  EXPECT_EQ(quotas.at(0).quota->limit.window.ticks, 10U);
  EXPECT_EQ(quotas.at(1).quota->limit.window.ticks, 600U);
  EXPECT_EQ(quotas.at(2).quota->limit.window.kind, CounterWindow::Kind::kBucket);
  EXPECT_NE(quotas.at(0).quota->id, quotas.at(1).quota->id);
  EXPECT_NE(quotas.at(1).quota->id, quotas.at(2).quota->id);
  // Together with Mixer's, which come first.
  use(kQuota + kHandler + kRule +
      limit("{mode: shadow, services: [{host: \"*\"}], rules: [{name: a, windows: [{requests: 5, "
            "per: 1s}]}]}"));
  EXPECT_EQ(charged(kWeb), "hits:1 a:1");
  EXPECT_TRUE(checks(kWeb)->rules.at(1).quotas.at(0).quota->is_shadow);
  EXPECT_EQ(says("RateLimit istio-system/limit", Finding::Level::kScope), "per node, shadow");
}

TEST_F(CheckCompile, RateLimitsOfAVersionNeedARouteToIt) {
  const std::string versioned = limit(
      "{services: [{host: ratings, labels: {version: v1}}], rules: [{name: a, windows: "
      "[{requests: 5, per: 1s}]}]}");
  use(versioned);
  EXPECT_EQ(checks(kRatingsCluster), nullptr);  // its endpoints are of two versions
  EXPECT_EQ(inactive("RateLimit istio-system/limit"),
            "no route leads to a destination of ratings.istio-system.svc.cluster.local whose "
            "endpoints all have version=v1");
  use(versioned + mixer("RouteRule", "to-v1",
                        "{destination: {name: ratings}, route: [{labels: {version: v1}}]}"));
  EXPECT_EQ(charged("outbound|9080|v1|ratings.istio-system.svc.cluster.local"), "a:1");
  EXPECT_EQ(inactive("RateLimit istio-system/limit"), "");
  use(
      limit("{services: [{host: other}, {host: reviews}], rules: [{name: a, match: [{port: 9080, "
            "sourceService: nobody}, {port: 81}], windows: [{requests: 5, per: 1s}]}]}"));
  EXPECT_EQ(warned("RateLimit istio-system/limit"),
            "no service is known for host other.istio-system.svc.cluster.local");
  EXPECT_EQ(checks(kReviewsCluster)->rules.at(0).matches.size(),
            1U);  // the other port is another's
  use(
      limit("{services: [{host: reviews}], rules: [{name: a, match: [{port: 81}], windows: "
            "[{requests: 5, per: 1s}]}]}"));
  EXPECT_EQ(checks(kReviewsCluster), nullptr);
  EXPECT_EQ(inactive("RateLimit istio-system/limit"),
            "no route leads to a destination of reviews.istio-system.svc.cluster.local that its "
            "rules match");
}

TEST_F(CheckCompile, NothingIsCheckedWithoutMixerObjects) {
  use("");
  EXPECT_EQ(snapshot->checks, nullptr);
  for (const auto& cluster : snapshot->clusters) EXPECT_EQ(cluster->checks, nullptr);
}

TEST(CounterWindows, TicksAndTheirBound) {
  using std::chrono::hours;
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  const auto rolling = [](Duration length, Duration tick) {
    return counter_window({QuotaWindow::Kind::kRolling, length, tick});
  };
  EXPECT_EQ(rolling(seconds(1), milliseconds(100)).ticks, 10U);
  EXPECT_EQ(rolling(seconds(60), milliseconds(100)).ticks, kWindowTicksMax);
  EXPECT_EQ(rolling(milliseconds(2500), seconds(1)).ticks, 3U);
  // Longer: never more ticks than the bound, and never back before the window has passed.
  for (const Duration length : {Duration(seconds(61)), Duration(seconds(3600)),
                                Duration(hours(24 * 31)), Duration(seconds(119))}) {
    const CounterWindow window = rolling(length, milliseconds(100));
    EXPECT_LE(window.ticks, kWindowTicksMax);
    EXPECT_GE(window.tick * (window.ticks - 1), length);
    EXPECT_LE(window.tick * (window.ticks - 2), length);
    EXPECT_EQ(window.tick % milliseconds(100), Duration::zero());
  }
  EXPECT_EQ(counter_window({QuotaWindow::Kind::kFixed, seconds(5), {}}).tick, seconds(5));
  EXPECT_EQ(counter_window({}).kind, CounterWindow::Kind::kNever);
}

}  // namespace
}  // namespace np::policy
