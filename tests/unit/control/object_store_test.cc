// SPDX-License-Identifier: Apache-2.0
#include "control/object_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/resource_name.h"

namespace np::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

policy::Object object(const std::string& name, const std::string& text = "one") {
  policy::Object made;
  made.id = {"config.istio.io", "RouteRule", "default", name};
  made.api_version = "config.istio.io/v1alpha2";
  made.text = text;
  made.file = name + ".yaml";
  made.line = 1;
  return made;
}

std::vector<Outcome> outcomes(const Plan& plan) {
  std::vector<Outcome> all;
  for (const Change& change : plan.changes) all.push_back(change.outcome);
  return all;
}

ObjectStore store_with(std::vector<policy::Object> objects) {
  ObjectStore store;
  store.commit(store.plan(Verb::kApply, std::move(objects), {false, 100}));
  return store;
}

TEST(ObjectStore, ApplyCreatesConfiguresAndLeavesAlone) {
  const ObjectStore store = store_with({object("a"), object("b")});
  const Plan plan =
      store.plan(Verb::kApply, {object("a"), object("b", "two"), object("c")}, {false, 200});
  EXPECT_TRUE(plan.errors.empty());
  EXPECT_TRUE(plan.changes_anything());
  EXPECT_THAT(outcomes(plan),
              ElementsAre(Outcome::kUnchanged, Outcome::kConfigured, Outcome::kCreated));
}

TEST(ObjectStore, UnchangedObjectsChangeNothing) {
  const ObjectStore store = store_with({object("a", "text\n")});
  EXPECT_FALSE(store.plan(Verb::kApply, {object("a", "text\n\n")}, {}).changes_anything());
}

TEST(ObjectStore, PlanningChangesNothing) {
  const ObjectStore store = store_with({object("a")});
  (void)store.plan(Verb::kApply, {object("b")}, {});
  EXPECT_EQ(store.objects().size(), 1U);
}

TEST(ObjectStore, AChangeKeepsSequenceAndCreationTime) {
  ObjectStore store = store_with({object("a"), object("b")});
  store.commit(store.plan(Verb::kReplace, {object("a", "two")}, {false, 200}));
  const policy::Object* a = store.find(object("a").id);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->sequence, 1U);
  EXPECT_EQ(a->generation, 2U);
  EXPECT_EQ(a->created_unix_ns, 100U);
  EXPECT_EQ(a->text, "two");
}

TEST(ObjectStore, AnObjectThatComesBackIsYounger) {
  ObjectStore store = store_with({object("a"), object("b")});
  store.commit(store.plan(Verb::kDelete, {object("a")}, {}));
  store.commit(store.plan(Verb::kCreate, {object("a")}, {false, 300}));
  EXPECT_EQ(store.find(object("a").id)->sequence, 3U);
  EXPECT_EQ(store.objects().back().id.name, "a");
}

TEST(ObjectStore, CreateRefusesWhatExists) {
  const ObjectStore store = store_with({object("a")});
  const Plan plan = store.plan(Verb::kCreate, {object("b"), object("a")}, {});
  EXPECT_THAT(plan.errors, ElementsAre(HasSubstr("routerule.config.istio.io \"a\"")));
  EXPECT_THAT(plan.errors.front(), HasSubstr("already exists"));
}

TEST(ObjectStore, ReplaceRefusesWhatIsMissing) {
  const ObjectStore store = store_with({object("a")});
  const Plan plan = store.plan(Verb::kReplace, {object("a", "two"), object("b")}, {});
  EXPECT_THAT(plan.errors, ElementsAre(HasSubstr("\"b\" in namespace \"default\" not found")));
}

TEST(ObjectStore, ReplaceSaysReplaced) {
  const ObjectStore store = store_with({object("a")});
  EXPECT_THAT(outcomes(store.plan(Verb::kReplace, {object("a", "two")}, {})),
              ElementsAre(Outcome::kReplaced));
}

TEST(ObjectStore, DeleteRefusesWhatIsMissingUnlessToldToIgnoreIt) {
  const ObjectStore store = store_with({object("a")});
  EXPECT_EQ(store.plan(Verb::kDelete, {object("a"), object("b")}, {}).errors.size(), 1U);
  const Plan ignoring = store.plan(Verb::kDelete, {object("a"), object("b")}, {true, 0});
  EXPECT_TRUE(ignoring.errors.empty());
  EXPECT_THAT(outcomes(ignoring), ElementsAre(Outcome::kDeleted));
  EXPECT_TRUE(ignoring.objects.empty());
}

TEST(ObjectStore, TheSameObjectTwiceIsOneWhenBothSayTheSame) {
  const ObjectStore store;
  const Plan plan = store.plan(Verb::kApply, {object("a"), object("a")}, {});
  EXPECT_TRUE(plan.errors.empty());
  EXPECT_EQ(plan.objects.size(), 1U);
}

TEST(ObjectStore, TheSameObjectTwiceWithDifferentContentIsRefused) {
  const ObjectStore store;
  const Plan plan = store.plan(Verb::kApply, {object("a"), object("a", "two")}, {});
  EXPECT_THAT(plan.errors, ElementsAre(HasSubstr("given twice with different content")));
  EXPECT_TRUE(
      store.plan(Verb::kDelete, {object("a"), object("a", "two")}, {true, 0}).errors.empty());
}

TEST(ObjectStore, RestoreContinuesTheSequence) {
  ObjectStore store;
  policy::Object old = object("a");
  old.sequence = 9;
  store.restore({old}, 3);
  store.commit(store.plan(Verb::kApply, {object("b")}, {}));
  EXPECT_EQ(store.find(object("b").id)->sequence, 10U);
}

TEST(ResourceName, IsKubectls) {
  EXPECT_EQ(resource_name(object("reviews-default").id),
            "routerule.config.istio.io/reviews-default");
  EXPECT_EQ(resource_name({"", "Service", "default", "reviews"}), "service/reviews");
}

}  // namespace
}  // namespace np::control
