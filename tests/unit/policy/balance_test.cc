// SPDX-License-Identifier: Apache-2.0
// Ring and Maglev tables: shares follow weights, a lost endpoint moves little else; what is hashed.
#include "policy/balance.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "policy/hash.h"
#include "tests/unit/policy/compile_support.h"

namespace np::policy {
namespace {

constexpr uint32_t kKeys = 200000;

Cluster cluster_of(LoadBalancing::Kind kind, const std::vector<uint32_t>& weights,
                   uint32_t without = UINT32_MAX) {
  Cluster cluster;
  cluster.load_balancing.kind = kind;
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (i == without) continue;
    Endpoint endpoint;
    endpoint.id = i;
    endpoint.address = {IpAddress::v4(10, 1, 0, static_cast<uint8_t>(i + 1)), 9080};
    endpoint.weight = weights[i];
    cluster.endpoints.push_back(endpoint);
  }
  build_hash_tables(cluster);
  return cluster;
}

uint32_t owner(const Cluster& cluster, uint32_t key) {
  return cluster.endpoints[endpoint_for_hash(cluster, mix64(key + 1))].id;
}

std::vector<double> shares(const Cluster& cluster, size_t count) {
  std::vector<double> out(count, 0);
  for (uint32_t key = 0; key < kKeys; ++key) out[owner(cluster, key)] += 1.0 / kKeys;
  return out;
}

// Of the keys that the lost endpoint did not own, the share that moved all the same.
double disruption(LoadBalancing::Kind kind) {
  const std::vector<uint32_t> weights(10, 1);
  const Cluster before = cluster_of(kind, weights);
  const Cluster after = cluster_of(kind, weights, 3);
  uint32_t moved = 0;
  uint32_t kept = 0;
  for (uint32_t key = 0; key < kKeys; ++key) {
    const uint32_t old_owner = owner(before, key);
    if (old_owner == 3) continue;
    ++(owner(after, key) == old_owner ? kept : moved);
  }
  return static_cast<double>(moved) / (moved + kept);
}

TEST(BalanceTest, RingFollowsWeights) {
  Cluster cluster = cluster_of(LoadBalancing::Kind::kRingHash, {1, 1, 2});
  EXPECT_GE(cluster.ring.size(), 1024U);
  EXPECT_TRUE(std::is_sorted(cluster.ring.begin(), cluster.ring.end()));
  cluster.ring.clear();
  cluster.load_balancing.minimum_ring_size = 65536;
  build_hash_tables(cluster);
  const std::vector<double> found = shares(cluster, 3);
  EXPECT_NEAR(found[0], 0.25, 0.02);
  EXPECT_NEAR(found[1], 0.25, 0.02);
  EXPECT_NEAR(found[2], 0.50, 0.02);
}

TEST(BalanceTest, MaglevFollowsWeights) {
  const Cluster cluster = cluster_of(LoadBalancing::Kind::kMaglev, {1, 3, 4});
  EXPECT_EQ(cluster.maglev.size(), 65537U);
  const std::vector<double> found = shares(cluster, 3);
  EXPECT_NEAR(found[0], 0.125, 0.01);
  EXPECT_NEAR(found[1], 0.375, 0.01);
  EXPECT_NEAR(found[2], 0.500, 0.01);
}

TEST(BalanceTest, MaglevSizeIsMadePrime) {
  Cluster cluster = cluster_of(LoadBalancing::Kind::kRoundRobin, {1, 1});
  cluster.load_balancing.kind = LoadBalancing::Kind::kMaglev;
  cluster.load_balancing.maglev_table_size = 100;
  build_hash_tables(cluster);
  EXPECT_EQ(cluster.maglev.size(), 101U);
}

TEST(BalanceTest, RingMovesOnlyTheKeysOfTheLostEndpoint) {
  EXPECT_EQ(disruption(LoadBalancing::Kind::kRingHash), 0.0);
}

TEST(BalanceTest, MaglevMovesFewOthers) {
  EXPECT_LT(disruption(LoadBalancing::Kind::kMaglev), 0.04);
}

TEST(BalanceTest, OrderOfEndpointsDoesNotMatterToTheRing) {
  const Cluster straight = cluster_of(LoadBalancing::Kind::kRingHash, {1, 1, 1, 1});
  Cluster turned = cluster_of(LoadBalancing::Kind::kRoundRobin, {1, 1, 1, 1});
  turned.load_balancing.kind = LoadBalancing::Kind::kRingHash;
  std::reverse(turned.endpoints.begin(), turned.endpoints.end());
  build_hash_tables(turned);
  for (uint32_t key = 0; key < 1000; ++key) EXPECT_EQ(owner(straight, key), owner(turned, key));
}

TEST(BalanceTest, ZeroAndHugeWeights) {
  const Cluster zeros = cluster_of(LoadBalancing::Kind::kRingHash, {0, 0});
  EXPECT_FALSE(zeros.ring.empty());
  const Cluster one = cluster_of(LoadBalancing::Kind::kMaglev, {0, 5});
  EXPECT_EQ(shares(one, 2)[1], shares(one, 2)[0] + shares(one, 2)[1]);
  const Cluster huge = cluster_of(LoadBalancing::Kind::kRingHash, {UINT32_MAX, UINT32_MAX, 1});
  EXPECT_LE(huge.ring.size(), 4096U);
  EXPECT_TRUE(cluster_of(LoadBalancing::Kind::kMaglev, {}).maglev.empty());
}

TEST(BalanceTest, OneEndpointOwnsEverything) {
  for (const auto kind : {LoadBalancing::Kind::kRingHash, LoadBalancing::Kind::kMaglev}) {
    const Cluster cluster = cluster_of(kind, {1});
    EXPECT_EQ(endpoint_for_hash(cluster, 0), 0U);
    EXPECT_EQ(endpoint_for_hash(cluster, UINT64_MAX), 0U);
  }
}

class RequestHashTest : public ::testing::Test {
 protected:
  std::optional<uint64_t> hash(LoadBalancing::HashOn on, std::string name = "") {
    LoadBalancing policy;
    policy.kind = LoadBalancing::Kind::kRingHash;
    policy.hash_on = on;
    policy.hash_name = std::move(name);
    request.fields = fields;
    return request_hash(policy, request, caller);
  }
  std::vector<Field> fields;
  RequestView request;
  CallerView caller;
};

TEST_F(RequestHashTest, NothingToHash) {
  EXPECT_EQ(hash(LoadBalancing::HashOn::kNone), std::nullopt);
  EXPECT_EQ(hash(LoadBalancing::HashOn::kHeader, "x-user"), std::nullopt);
  EXPECT_EQ(hash(LoadBalancing::HashOn::kCookie, "session"), std::nullopt);
  EXPECT_EQ(hash(LoadBalancing::HashOn::kQueryParam, "user"), std::nullopt);
}

TEST_F(RequestHashTest, Header) {
  fields = {{"X-User", "jason"}};
  const auto jason = hash(LoadBalancing::HashOn::kHeader, "x-user");
  fields = {{"x-user", "mary"}};
  const auto mary = hash(LoadBalancing::HashOn::kHeader, "x-user");
  EXPECT_TRUE(jason.has_value());
  EXPECT_NE(jason, mary);
}

TEST_F(RequestHashTest, CookieByName) {
  fields = {{"cookie", "xsession=2; session=1"}};
  const auto one = hash(LoadBalancing::HashOn::kCookie, "session");
  fields = {{"cookie", "a=b"}, {"cookie", "session=1"}};
  EXPECT_EQ(hash(LoadBalancing::HashOn::kCookie, "session"), one);
  fields = {{"cookie", "session=2"}};
  EXPECT_NE(hash(LoadBalancing::HashOn::kCookie, "session"), one);
}

TEST_F(RequestHashTest, SourceAddressAndParameter) {
  caller.ip = ip("10.1.0.1");
  const auto one = hash(LoadBalancing::HashOn::kSourceIp);
  caller.ip = ip("10.1.0.2");
  EXPECT_NE(hash(LoadBalancing::HashOn::kSourceIp), one);
  request.query = "a=1&user=x";
  EXPECT_TRUE(hash(LoadBalancing::HashOn::kQueryParam, "user").has_value());
}

// Nodes and versions must agree on where a key goes: these values are a contract.
TEST_F(RequestHashTest, HashesNeverChange) {
  EXPECT_EQ(hash_bytes(""), mix64(kFnvBasis));
  EXPECT_EQ(mix64(1), 0xb456bcfc34c2cb2cU);
  EXPECT_EQ(fnv_step(kFnvBasis, 'a'), 0xaf63dc4c8601ec8cU);
}

TEST(BalanceTest, CompileBuildsTheTables) {
  World world;
  world.bookinfo();
  TrafficPolicy hashed;
  hashed.load_balancing.emplace().kind = LoadBalancing::Kind::kMaglev;
  world.destination_rule("reviews", kReviews, {}).policy = hashed;
  world.compile();
  const Cluster* cluster = world.cluster("outbound|9080||" + std::string(kReviews));
  EXPECT_EQ(cluster->maglev.size(), 65537U);
  EXPECT_TRUE(cluster->ring.empty());
}

}  // namespace
}  // namespace np::policy
