// SPDX-License-Identifier: Apache-2.0
// Changes of policy with the rest of the daemon faked: what is called in which order, what a
// failing step leaves behind, what a restart finds.
#include "control/controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Peer kRoot{0, 1, true};

std::vector<policy::Object> parse(const std::string& yaml) {
  policy::Diagnostics diagnostics;
  auto objects = policy::parse_objects(yaml, {"test.yaml", "default"}, diagnostics);
  EXPECT_FALSE(policy::has_errors(diagnostics)) << diagnostics.front().to_string();
  return objects;
}

std::string gateway(const std::string& name, int port) {
  return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: " + name +
         "\nspec:\n  selector:\n    istio: ingressgateway\n  servers:\n  - port:\n      number: " +
         std::to_string(port) +
         "\n      name: http\n      protocol: HTTP\n    hosts:\n    - \"*\"\n";
}

std::string service(const std::string& name) {
  return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name +
         "\nspec:\n  clusterIP: 10.96.0.10\n  selector:\n    app: " + name +
         "\n  ports:\n  - name: http\n    port: 9080\n";
}

std::string route_rule(const std::string& name, int weight) {
  return "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: " + name +
         "\nspec:\n  destination:\n    name: reviews\n  route:\n  - labels:\n      version: v1\n"
         "    weight: " +
         std::to_string(weight) + "\n";
}

PodRegistration pod(const std::string& name, const std::string& ip) {
  return {"default", name, {*IpAddress::parse(ip)}, "v-" + name, {{"app", name}}, false};
}

class ControllerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    start();
  }

  void start() {
    controller_.reset();
    auto opened = StateFile::open(directory_.path() + "/state");
    ASSERT_TRUE(opened);
    state_ = std::make_unique<StateFile>(std::move(opened).value());
    controller_ = std::make_unique<Controller>(daemon_.seams(), state_.get());
    auto started = controller_->start();
    ASSERT_TRUE(started) << started.error().to_string();
  }

  ChangeAnswer apply(const std::string& yaml) {
    daemon_.journal.clear();
    return controller_->change(Verb::kApply, parse(yaml), {false, 1}, kRoot);
  }

  TemporaryDirectory directory_;
  FakeDaemon daemon_;
  std::unique_ptr<StateFile> state_;
  std::unique_ptr<Controller> controller_;
};

TEST_F(ControllerTest, StartPublishesAnEmptyPolicy) {
  ASSERT_NE(daemon_.published, nullptr);
  EXPECT_THAT(daemon_.journal, ElementsAre("listen", "add", "publish", "retire"));
  EXPECT_THAT(daemon_.listening, IsEmpty());
}

TEST_F(ControllerTest, AChangeGoesThroughTheDataPathInOrder) {
  const ChangeAnswer answer = apply(gateway("a", 8080));
  EXPECT_FALSE(answer.is_refused());
  EXPECT_THAT(daemon_.journal, ElementsAre("listen", "add", "publish", "retire"));
  EXPECT_THAT(daemon_.listening, SizeIs(1));
  EXPECT_EQ(daemon_.published->generation, controller_->snapshot().generation);
}

TEST_F(ControllerTest, UnchangedListenersAreLeftAlone) {
  ASSERT_FALSE(apply(gateway("a", 8080)).is_refused());
  ASSERT_FALSE(apply(service("reviews")).is_refused());
  EXPECT_THAT(daemon_.journal, ElementsAre("add", "publish", "retire"));
}

// Clients of a listener that goes are served until the shards have the new policy.
TEST_F(ControllerTest, AListenerThatGoesIsClosedLast) {
  ASSERT_FALSE(apply(gateway("a", 8080)).is_refused());
  ASSERT_FALSE(apply(gateway("a", 8081)).is_refused());
  EXPECT_THAT(daemon_.journal, ElementsAre("listen", "add", "publish", "retire", "listen"));
  ASSERT_THAT(daemon_.listening, SizeIs(1));
  EXPECT_EQ(daemon_.listening[0].port, 8081);
}

TEST_F(ControllerTest, AnUnchangedApplyTouchesNothing) {
  ASSERT_FALSE(apply(service("reviews")).is_refused());
  const uint64_t generation = controller_->snapshot().generation;
  const ChangeAnswer again = apply(service("reviews"));
  EXPECT_FALSE(again.is_refused());
  EXPECT_THAT(daemon_.journal, IsEmpty());
  EXPECT_EQ(controller_->snapshot().generation, generation);
}

TEST_F(ControllerTest, AnErrorInOneObjectRefusesAll) {
  const ChangeAnswer answer = apply(service("reviews") + "---\n" + route_rule("r", -5));
  ASSERT_TRUE(answer.is_refused());
  ASSERT_THAT(answer.diagnostics, Not(IsEmpty()));
  EXPECT_THAT(answer.diagnostics.front().to_string(), HasSubstr("test.yaml:"));
  EXPECT_THAT(controller_->store().objects(), IsEmpty());
  EXPECT_THAT(daemon_.journal, IsEmpty());
}

// Every step of a change fails once: the policy before it stays, and the next change works.
TEST_F(ControllerTest, AFailingStepPutsThePolicyBeforeBack) {
  ASSERT_FALSE(apply(gateway("a", 8080) + "---\n" + service("reviews")).is_refused());
  const auto objects_before = controller_->store().objects().size();
  for (const std::string step : {"listen", "add", "publish", "retire"}) {
    const uint64_t generation = controller_->snapshot().generation;
    daemon_.failing = {step};
    const ChangeAnswer refused = apply(gateway("b", 8081));
    ASSERT_TRUE(refused.is_refused()) << step;
    EXPECT_THAT(refused.errors.front(), HasSubstr("nothing was changed")) << step;
    EXPECT_THAT(refused.errors.front(), HasSubstr("it was told to fail")) << step;
    EXPECT_EQ(controller_->snapshot().generation, generation) << step;
    EXPECT_EQ(controller_->store().objects().size(), objects_before) << step;
    daemon_.failing.clear();
    ASSERT_FALSE(apply(service("again-" + step)).is_refused()) << step;
    ASSERT_FALSE(
        controller_->change(Verb::kDelete, parse(service("again-" + step)), {false, 1}, kRoot)
            .is_refused());
    ASSERT_THAT(daemon_.listening, SizeIs(1)) << step;
    EXPECT_EQ(daemon_.listening[0].port, 8080) << step;
    EXPECT_EQ(daemon_.published->generation, controller_->snapshot().generation) << step;
    EXPECT_EQ(daemon_.capture_generation, controller_->snapshot().generation) << step;
  }
}

TEST_F(ControllerTest, WhatCannotBeSavedIsNotInEffect) {
  ASSERT_FALSE(apply(service("reviews")).is_refused());
  const uint64_t generation = controller_->snapshot().generation;
  // A directory where the temporary file should go: save() fails, for root, too.
  std::filesystem::create_directory(directory_.path() + "/state/state.tmp");
  EXPECT_TRUE(apply(service("ratings")).is_refused());
  EXPECT_EQ(controller_->snapshot().generation, generation);
  EXPECT_EQ(daemon_.published->generation, generation);
  EXPECT_EQ(daemon_.capture_generation, generation);
  EXPECT_THAT(controller_->store().objects(), SizeIs(1));
}

TEST_F(ControllerTest, ObjectsAndPodsSurviveARestart) {
  ASSERT_FALSE(apply(service("reviews") + "---\n" + route_rule("r", 100)).is_refused());
  ASSERT_FALSE(controller_->add_pod(pod("reviews", "10.1.0.5"), kRoot).is_refused());
  const uint64_t generation = controller_->snapshot().generation;
  daemon_.journal.clear();
  start();
  EXPECT_THAT(controller_->store().objects(), SizeIs(3));
  EXPECT_GT(controller_->snapshot().generation, generation);
  EXPECT_THAT(daemon_.journal,
              ElementsAre("listen", "add", "publish", "retire", "attach default/reviews"));
  EXPECT_EQ(controller_->store().objects()[0].id.name, "reviews");
}

TEST_F(ControllerTest, ADamagedStateFileGivesTheGenerationBefore) {
  ASSERT_FALSE(apply(service("one")).is_refused());
  ASSERT_FALSE(apply(service("two")).is_refused());
  std::filesystem::resize_file(directory_.path() + "/state/state", 100);
  start();
  ASSERT_THAT(controller_->store().objects(), SizeIs(1));
  EXPECT_EQ(controller_->store().objects()[0].id.name, "one");
}

// A newer version may refuse what an older one took: the rest must act, and the refused object can
// be replaced.
TEST_F(ControllerTest, AStoredObjectThatIsNoLongerAcceptedIsLeftOut) {
  SavedState saved;
  saved.objects = parse(service("reviews") + "---\n" + route_rule("r", 100));
  saved.objects[0].sequence = 1;
  saved.objects[1].sequence = 2;
  saved.objects[1].text += "  noSuchField: 1\n";
  ASSERT_TRUE(state_->save(to_json_text(saved)));
  start();
  const policy::ObjectId id = saved.objects[1].id;
  EXPECT_EQ(controller_->statuses().of(id).state, ObjectStatus::State::kRefused);
  EXPECT_THAT(controller_->statuses().of(id).reason, HasSubstr("noSuchField"));
  EXPECT_THAT(controller_->model().services, SizeIs(1));
  ASSERT_FALSE(apply(service("ratings")).is_refused());
  EXPECT_THAT(controller_->model().services, SizeIs(2));
  ASSERT_FALSE(apply(route_rule("r", 100)).is_refused());
  EXPECT_EQ(controller_->statuses().of(id).state, ObjectStatus::State::kInEffect);
  EXPECT_THAT(controller_->model().routes, SizeIs(1));
}

TEST_F(ControllerTest, AListenerThatIsTakenAtStartDoesNotStopTheNode) {
  ASSERT_FALSE(apply(gateway("a", 8080)).is_refused());
  daemon_.failing = {"listen"};
  start();
  EXPECT_THAT(controller_->listener_problem(), HasSubstr("it was told to fail"));
  EXPECT_EQ(daemon_.published->generation, controller_->snapshot().generation);
}

TEST_F(ControllerTest, AnObjectNotYetInEffectSaysSo) {
  const ChangeAnswer answer = apply(
      "apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata:\n  name: apis\n"
      "spec:\n  destination:\n    service: www.example.com\n  ports:\n  - port: 443\n"
      "    protocol: https\n");
  ASSERT_FALSE(answer.is_refused());
  const ObjectStatus& status = controller_->statuses().of(answer.changes[0].id);
  EXPECT_EQ(status.state, ObjectStatus::State::kNotYetInEffect);
  EXPECT_THAT(status.reason, Not(IsEmpty()));
}

// One object after the other, in the wrong order: each says what it still needs.
TEST_F(ControllerTest, RateLimitsSayWhetherTheyActAndHowFar) {
  const std::string api = "apiVersion: config.istio.io/v1alpha2\nkind: ";
  const std::string rule = api +
                           "rule\nmetadata: {name: r, namespace: istio-system}\nspec: {actions: "
                           "[{handler: h.memquota, instances: [q.quota]}]}\n---\n";
  const std::string quota =
      api + "quota\nmetadata: {name: q, namespace: istio-system}\nspec: {dimensions: {}}\n---\n";
  const std::string handler =
      api +
      "memquota\nmetadata: {name: h, namespace: istio-system}\nspec: {quotas: [{name: q.quota, "
      "maxAmount: 1, validDuration: 1s}]}\n---\n";
  const auto text = [this](const std::string& kind, const std::string& name) {
    const ObjectStatus& status =
        controller_->statuses().of({"config.istio.io", kind, "istio-system", name});
    return to_text(status) + (status.reason.empty() ? "" : ": " + status.reason);
  };
  const ChangeAnswer first = apply(service("reviews") + "---\n" + rule);
  EXPECT_THAT(first.warnings, ElementsAre("rule istio-system/r is inactive: there is no memquota "
                                          "istio-system/h"));
  EXPECT_EQ(text("rule", "r"), "inactive: there is no memquota istio-system/h");
  apply(handler);
  EXPECT_EQ(text("rule", "r"), "inactive: there is no quota istio-system/q");
  EXPECT_EQ(text("memquota", "h"), "inactive: no rule in effect uses it");
  const ChangeAnswer last = apply(quota);
  EXPECT_THAT(last.warnings, IsEmpty());
  EXPECT_EQ(text("rule", "r"), "in effect");
  EXPECT_EQ(text("memquota", "h"), "in effect, per node");
  EXPECT_EQ(text("quota", "q"), "in effect");
}

// People and the dashboard's graph look for what acts on a service.
TEST_F(ControllerTest, OurOwnKindsSayOnWhichHostsTheyAct) {
  apply(service("reviews") +
        "---\napiVersion: nodeproxy.dev/v1\nkind: TrafficPolicy\nmetadata: {name: t}\n"
        "spec: {host: reviews, limits: {maxConnections: 1}}\n"
        "---\napiVersion: nodeproxy.dev/v1\nkind: RateLimit\nmetadata: {name: l}\n"
        "spec: {services: [{host: reviews}], rules: [{name: r, windows: [{requests: 1, per: 1s}]}]}"
        "\n");
  for (const auto& [kind, name] : {std::pair("TrafficPolicy", "t"), {"RateLimit", "l"}}) {
    const policy::ObjectId id{"nodeproxy.dev", kind, "default", name};
    EXPECT_THAT(controller_->statuses().of(id).hosts,
                ElementsAre("reviews.default.svc.cluster.local"))
        << kind;
  }
}

// ---- pods -------------------------------------------------------------------------------------

TEST_F(ControllerTest, APodIsKnownBeforeItIsCaptured) {
  daemon_.journal.clear();
  ASSERT_FALSE(controller_->add_pod(pod("reviews", "10.1.0.5"), kRoot).is_refused());
  EXPECT_THAT(daemon_.journal, ElementsAre("add", "publish", "retire", "attach default/reviews"));
  ASSERT_THAT(controller_->model().pods, SizeIs(1));
  EXPECT_EQ(controller_->model().pods[0].labels.at("app"), "reviews");
  const auto reports = controller_->pods().reports(controller_->model());
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_EQ(reports[0].status, "captured");
  EXPECT_EQ(reports[0].captured_since_unix_ns, 1'700'000'000'000'000'000U);
}

TEST_F(ControllerTest, APodThatCannotBeAttachedIsNotAdded) {
  daemon_.failing = {"attach default/reviews"};
  const ChangeAnswer answer = controller_->add_pod(pod("reviews", "10.1.0.5"), kRoot);
  ASSERT_TRUE(answer.is_refused());
  EXPECT_THAT(controller_->store().objects(), IsEmpty());
  EXPECT_THAT(controller_->pods().all(), IsEmpty());
  daemon_.failing.clear();
  start();
  EXPECT_THAT(controller_->pods().all(), IsEmpty());
}

TEST_F(ControllerTest, AFailedReRegistrationKeepsTheOldOne) {
  ASSERT_FALSE(controller_->add_pod(pod("reviews", "10.1.0.5"), kRoot).is_refused());
  PodRegistration moved = pod("reviews", "10.1.0.5");
  moved.ifname = "v-other";
  // Attaching fails for the new interface and for putting the old one back: both are told.
  daemon_.failing = {"attach default/reviews"};
  EXPECT_TRUE(controller_->add_pod(moved, kRoot).is_refused());
  daemon_.failing.clear();
  start();
  ASSERT_THAT(controller_->pods().all(), SizeIs(1));
  EXPECT_EQ(controller_->pods().all()[0].ifname, "v-reviews");
}

TEST_F(ControllerTest, TwoPodsCannotShareAddressOrInterface) {
  ASSERT_FALSE(controller_->add_pod(pod("a", "10.1.0.5"), kRoot).is_refused());
  EXPECT_TRUE(controller_->add_pod(pod("b", "10.1.0.5"), kRoot).is_refused());
  PodRegistration same_interface = pod("b", "10.1.0.6");
  same_interface.ifname = "v-a";
  EXPECT_TRUE(controller_->add_pod(same_interface, kRoot).is_refused());
}

TEST_F(ControllerTest, ARemovedPodIsDetachedAndForgotten) {
  ASSERT_FALSE(controller_->add_pod(pod("a", "10.1.0.5"), kRoot).is_refused());
  daemon_.journal.clear();
  ASSERT_FALSE(controller_->remove_pod("default", "a", kRoot).is_refused());
  EXPECT_THAT(daemon_.journal, ElementsAre("detach", "add", "publish", "retire"));
  EXPECT_THAT(controller_->store().objects(), IsEmpty());
  EXPECT_TRUE(controller_->remove_pod("default", "a", kRoot).is_refused());
  start();
  EXPECT_THAT(controller_->pods().all(), IsEmpty());
}

TEST_F(ControllerTest, ARegisteredPodIsNotDeletedBehindItsBack) {
  ASSERT_FALSE(controller_->add_pod(pod("a", "10.1.0.5"), kRoot).is_refused());
  const ChangeAnswer answer =
      controller_->change(Verb::kDelete, {pod_object(pod("a", "10.1.0.5"))}, {}, kRoot);
  ASSERT_TRUE(answer.is_refused());
  EXPECT_THAT(answer.errors.front(), HasSubstr("nodectl pod remove"));
}

TEST_F(ControllerTest, APodWhoseInterfaceIsGoneSaysSo) {
  ASSERT_FALSE(controller_->add_pod(pod("a", "10.1.0.5"), kRoot).is_refused());
  daemon_.pods[0].ifindex = 0;
  const auto reports = controller_->pods().reports(controller_->model());
  EXPECT_EQ(reports[0].status, "interface v-a is gone");
}

TEST_F(ControllerTest, AHostNetworkPodIsReportedAsUnsupported) {
  ASSERT_FALSE(apply("apiVersion: v1\nkind: Pod\nmetadata:\n  name: node-agent\nspec:\n"
                     "  hostNetwork: true\nstatus:\n  podIP: 192.0.2.1\n")
                   .is_refused());
  const auto reports = controller_->pods().reports(controller_->model());
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_EQ(reports[0].status, "unsupported: hostNetwork");
}

TEST_F(ControllerTest, DetachAllLastsUntilAPodIsAddedAgain) {
  ASSERT_FALSE(controller_->add_pod(pod("a", "10.1.0.5"), kRoot).is_refused());
  ASSERT_TRUE(controller_->detach_all(kRoot));
  EXPECT_THAT(daemon_.pods, IsEmpty());
  daemon_.journal.clear();
  start();
  EXPECT_THAT(daemon_.journal, ElementsAre("listen", "add", "publish", "retire"));
  EXPECT_EQ(controller_->pods().reports(controller_->model())[0].status, "detached");
  ASSERT_FALSE(controller_->add_pod(pod("a", "10.1.0.5"), kRoot).is_refused());
  EXPECT_EQ(controller_->pods().reports(controller_->model())[0].status, "captured");
}

TEST(PodRegistration, RefusesWhatIsNotAName) {
  const PodRegistration good = pod("a", "10.1.0.5");
  EXPECT_TRUE(check_registration(good));
  const auto with = [&good](auto change) {
    PodRegistration bad = good;
    change(bad);
    return check_registration(bad).has_value();
  };
  EXPECT_FALSE(with([](PodRegistration& p) { p.name = "A b"; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.name = "a\"\n"; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.name = ""; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.ns = "a.b"; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.ips.clear(); }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.ips[0] = IpAddress{}; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.ifname = "name-of-17-letters"; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.ifname = "../x"; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.labels["a\"b"] = ""; }));
  EXPECT_FALSE(with([](PodRegistration& p) { p.labels["a"] = "b\nc"; }));
}

// ---- DNS --------------------------------------------------------------------------------------

TEST_F(ControllerTest, NewAddressesOfANameAreCompiledIn) {
  ASSERT_FALSE(apply("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n"
                     "  name: out\nspec:\n  hosts:\n  - out.example.com\n  addresses:\n"
                     "  - 240.0.0.1\n  ports:\n  - number: 80\n    name: http\n    protocol: HTTP\n"
                     "  resolution: DNS\n  location: MESH_EXTERNAL\n")
                   .is_refused());
  EXPECT_THAT(controller_->snapshot().dns_names, ElementsAre("out.example.com"));
  const uint64_t generation = controller_->snapshot().generation;
  const policy::DnsAnswers answers = {{"out.example.com", {*IpAddress::parse("192.0.2.7")}}};
  ASSERT_TRUE(controller_->set_dns(answers));
  EXPECT_GT(controller_->snapshot().generation, generation);
  bool found = false;
  for (const auto& cluster : daemon_.published->clusters) {
    for (const auto& endpoint : cluster->endpoints) {
      found = found || endpoint.address.to_string() == "192.0.2.7:80";
    }
  }
  EXPECT_TRUE(found);
  daemon_.journal.clear();
  ASSERT_TRUE(controller_->set_dns(answers));
  EXPECT_THAT(daemon_.journal, IsEmpty());
}

}  // namespace
}  // namespace np::control
