// SPDX-License-Identifier: Apache-2.0
// The self-test of acceleration: each check passes on the plain stack, fails where its danger is
// provoked, and the whole leaves nothing behind. What this kernel makes of it is no test's matter.
#include "kernel/acceleration.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "bpf/lying_pairs.h"
#include "kernel/socket_steps.h"

namespace np::kernel {
namespace {

using control::DangerResult;
using ::testing::HasSubstr;
using ::testing::Not;

const DangerCheck& check_named(const std::string& name) {
  for (const DangerCheck& check : danger_checks()) {
    if (check.name == name) return check;
  }
  NP_CHECK(false);
}

DangerResult try_out(const std::string& name, ConnectedPairs& pairs) {
  return run_check(check_named(name), pairs);
}

std::string own_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line;
  }
  return "";
}

// ---- the checks, without redirection ------------------------------------------------------------

class OverThePlainStack : public ::testing::TestWithParam<DangerCheck> {};

TEST_P(OverThePlainStack, EveryPromiseHolds) {
  PlainPairs pairs;
  const DangerResult result = run_check(GetParam(), pairs);
  EXPECT_TRUE(result.passed) << result.seen;
  EXPECT_FALSE(result.seen.empty());
}

std::string name_of(const ::testing::TestParamInfo<DangerCheck>& info) {
  std::string name = info.param.name;
  std::erase(name, '-');
  return name;
}
INSTANTIATE_TEST_SUITE_P(AccelerationCheck, OverThePlainStack,
                         ::testing::ValuesIn(danger_checks().begin(), danger_checks().end()),
                         name_of);

TEST(AccelerationLie, AnEndThatDoesNotPassIsNoticed) {
  RelayedPairs pairs(RelayedPairs::Lie::kEndless);
  EXPECT_THAT(try_out("half-close", pairs).seen, HasSubstr("no end"));
}

TEST(AccelerationLie, AResetThatBecomesAnEndIsNoticed) {
  RelayedPairs pairs(RelayedPairs::Lie::kNone);
  const DangerResult result = try_out("close-unread", pairs);
  EXPECT_FALSE(result.passed);
  EXPECT_THAT(result.seen, HasSubstr("was told \"end\""));
}

TEST(AccelerationLie, AMissingWakeUpIsNoticed) {
  RelayedPairs pairs(RelayedPairs::Lie::kLate);
  EXPECT_THAT(try_out("epoll", pairs).seen, HasSubstr("level: no wake-up"));
  EXPECT_THAT(try_out("io_uring", pairs).seen, HasSubstr("recv: no completion"));
}

TEST(AccelerationLie, ARestThatIsGoneIsNoticed) {
  LocalPairs pairs(SOCK_SEQPACKET);  // what one read leaves of a message is dropped
  EXPECT_FALSE(try_out("partial-read", pairs).passed);
  EXPECT_THAT(try_out("wait-all", pairs).seen, HasSubstr("came back with 4"));
}

TEST(AccelerationLie, AWrongCountIsNoticed) {
  LocalPairs pairs(SOCK_DGRAM);
  EXPECT_THAT(try_out("fionread", pairs).seen, HasSubstr("part of it read: FIONREAD says 0"));
  EXPECT_THAT(try_out("urgent", pairs).seen, HasSubstr("urgent data cannot be sent"));
}

TEST(AccelerationLie, APeekThatConsumesIsNoticed) {
  LocalPairs pairs(SOCK_STREAM, true);
  EXPECT_THAT(try_out("peek", pairs).seen, HasSubstr("other bytes than were sent"));
}

TEST(AccelerationLie, OtherBytesAreNoticed) {
  RelayedPairs pairs(RelayedPairs::Lie::kOther);
  EXPECT_THAT(try_out("splice", pairs).seen, HasSubstr("or other ones"));
  EXPECT_THAT(try_out("order", pairs).seen, HasSubstr("is not the one that was sent there"));
}

// ---- the programs -------------------------------------------------------------------------------

class Acceleration : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    group_ = own_group();
  }
  void TearDown() override { EXPECT_EQ(own_group(), group_); }

  std::unique_ptr<AcceleratedPairs> accelerate(const RedirectionRules& rules = {}) {
    auto pairs = AcceleratedPairs::create(rules);
    EXPECT_TRUE(pairs.has_value()) << (pairs ? "" : pairs.error().to_string());
    return pairs ? std::move(*pairs) : nullptr;
  }
  static np_acc_st counters(const AcceleratedPairs& pairs) {
    const auto counters = pairs.counters();
    EXPECT_TRUE(counters.has_value());
    return counters ? *counters : np_acc_st{};
  }

 private:
  std::string group_;
};

TEST_F(Acceleration, TellsOfEveryDanger) {
  const auto results = test_socket_redirection();
  ASSERT_TRUE(results.has_value()) << results.error().to_string();
  ASSERT_EQ(results->size(), danger_checks().size() + 1);
  EXPECT_EQ(results->front().name, "enrolment");
  for (const DangerResult& result : *results) {
    EXPECT_FALSE(result.seen.empty() || result.promise.empty()) << result.name;
    EXPECT_THAT(result.seen, Not(HasSubstr("nothing was redirected"))) << result.name;
  }
}

TEST_F(Acceleration, BothFamiliesAreEnrolledBeforeTheirFirstByte) {
  const auto pairs = accelerate();
  ASSERT_NE(pairs, nullptr);
  for (const LoopbackFamily family : {LoopbackFamily::kV4, LoopbackFamily::kV6}) {
    const np_acc_st before = counters(*pairs);
    const auto pair = pairs->make(family);
    if (!pair && family == LoopbackFamily::kV6) continue;
    ASSERT_TRUE(pair.has_value()) << pair.error().to_string();
    EXPECT_EQ(counters(*pairs).enrolled, before.enrolled + 2);
    for (const auto* ends : {&pair->server, &pair->client}) {
      const Fd& peer = ends == &pair->server ? pair->client : pair->server;
      ASSERT_TRUE(put(ends->get(), "hello").has_value());
      EXPECT_TRUE(expect_bytes(peer.get(), "hello").has_value());
    }
    EXPECT_EQ(counters(*pairs).redirected, before.redirected + 2);
    EXPECT_EQ(counters(*pairs).stack_peer, before.stack_peer);
  }
}

// What our own two rules are there for holds on every kernel.
TEST_F(Acceleration, TheRulesKeepOrderAndMemory) {
  const auto pairs = accelerate();
  ASSERT_NE(pairs, nullptr);
  for (const char* name : {"order", "memory"}) {
    const DangerResult result = try_out(name, *pairs);
    EXPECT_TRUE(result.passed) << name << ": " << result.seen;
  }
}

TEST_F(Acceleration, AProgramThatGoesBackToRedirectionIsNoticed) {
  RedirectionRules rules;
  rules.keeps_route = false;
  const auto pairs = accelerate(rules);
  ASSERT_NE(pairs, nullptr);
  const DangerResult result = try_out("order", *pairs);
  EXPECT_FALSE(result.passed);
  EXPECT_THAT(result.seen, HasSubstr("is not the one that was sent there"));
}

TEST_F(Acceleration, AProgramWithoutAWindowIsNoticed) {
  RedirectionRules rules;
  rules.window_bytes = uint64_t{1} << 40U;
  const auto pairs = accelerate(rules);
  ASSERT_NE(pairs, nullptr);
  EXPECT_FALSE(try_out("memory", *pairs).passed);
}

TEST_F(Acceleration, AProgramThatRedirectsNothingProvesNothing) {
  RedirectionRules rules;
  rules.window_bytes = 0;
  const auto results = test_socket_redirection(rules);
  ASSERT_TRUE(results.has_value()) << results.error().to_string();
  for (const DangerResult& result : *results) {
    EXPECT_FALSE(result.passed) << result.name;
    EXPECT_THAT(result.seen, HasSubstr("redirected")) << result.name;
  }
}

// A message of one byte holds about a kilobyte of the kernel's memory.
TEST_F(Acceleration, SmallMessagesArePaidForInFull) {
  const auto pairs = accelerate();
  ASSERT_NE(pairs, nullptr);
  const auto pair = pairs->make(LoopbackFamily::kV4);
  ASSERT_TRUE(pair.has_value());
  constexpr size_t kMessages = 1000;
  for (size_t i = 0; i < kMessages; ++i) ASSERT_TRUE(put(pair->client.get(), "x").has_value());
  const np_acc_st after = counters(*pairs);
  EXPECT_EQ(after.redirected, NP_ACC_WINDOW_BYTES / (NP_ACC_MESSAGE_BYTES + 1));
  EXPECT_EQ(after.stack_window, 1U);
  EXPECT_EQ(after.redirected + after.stack_window + after.stack_route, kMessages);
  EXPECT_TRUE(expect_bytes(pair->server.get(), std::string(kMessages, 'x')).has_value());
}

// Each run of a program counts one reason, and connections that are not ours count nothing.
TEST_F(Acceleration, OthersAreNotTouched) {
  const auto before_cgroup = connect_loopback(LoopbackFamily::kV4);
  ASSERT_TRUE(before_cgroup.has_value());
  const auto pairs = accelerate();
  ASSERT_NE(pairs, nullptr);
  const np_acc_st before = counters(*pairs);
  ASSERT_TRUE(put(before_cgroup->client.get(), "hello").has_value());
  EXPECT_TRUE(expect_bytes(before_cgroup->server.get(), "hello").has_value());
  const np_acc_st after = counters(*pairs);
  EXPECT_EQ(std::memcmp(&before, &after, sizeof(after)), 0);
}

// kill -9 in the middle: programs and maps go with the process, the next run removes its cgroup.
TEST_F(Acceleration, AKilledRunLeavesNothingForLong) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto pairs = AcceleratedPairs::create({});
    ::raise(pairs ? SIGKILL : SIGTERM);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  const std::string left = "nodeproxy-self-test-" + std::to_string(child);
  ASSERT_NE(accelerate(), nullptr);
  std::ifstream mounts("/proc/self/mounts");
  for (std::string device, path, type, rest; mounts >> device >> path >> type;) {
    std::getline(mounts, rest);
    if (type == "cgroup2") {
      EXPECT_FALSE(std::filesystem::exists(path + "/" + left)) << path;
    }
  }
}

}  // namespace
}  // namespace np::kernel
