// SPDX-License-Identifier: Apache-2.0
// CaptureReplay against the program that it replays: under maps made up from a seed, the first SYN
// of a connection leaves np_pod_in as the replay said, and counts what it said.
#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>

#include "base/random.h"
#include "bpf/program_fixture.h"
#include "kernel/capture_replay.h"

namespace np::kernel {
namespace {

using Outcome = control::CaptureVerdict::Outcome;

constexpr int kRounds = 600;

uint64_t counter_of(const np_stats& stats, const std::string& name) {
  static const std::map<std::string, __u64 np_stats::*> kFields = {
#define NP_FIELD(field, help) {#field, &np_stats::field},
      NP_STATS(NP_FIELD)
#undef NP_FIELD
  };
  const auto found = kFields.find(name);
  EXPECT_NE(found, kFields.end()) << name;
  return found == kFields.end() ? 0 : stats.*found->second;
}

int exit_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDirect:
      return kNext;
    case Outcome::kDropped:
      return kDrop;
    case Outcome::kCaptured:
    case Outcome::kRefused:  // handed to a stack that answers RST
      break;
  }
  return kRedirect;
}

class ReplayTest : public ProgramFixture {
 protected:
  void SetUp() override {
    ProgramFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const auto fd = [this](Map map) { return loader_->map_fd(map); };
    replay_ = std::make_unique<CaptureReplay>(
        CaptureReplay::Maps{fd(Map::kConfig), fd(Map::kLive), fd(Map::kPods), fd(Map::kPodStats),
                            fd(Map::kServices), fd(Map::kCidr), fd(Map::kListeners)});
  }

  // What the replay says of the packet, and what the program does with it.
  control::CaptureVerdict compare(const Packet& packet) {
    const control::CaptureVerdict said =
        replay_->verdict(*IpAddress::parse(packet.source), pod_ifindex_,
                         {*IpAddress::parse(packet.destination), packet.destination_port});
    const np_stats before = stats();
    EXPECT_EQ(run_program(Program::kPodIn, packet, pod_ifindex_), exit_of(said.outcome))
        << said.reason;
    EXPECT_EQ(counter_of(stats(), said.counter) - counter_of(before, said.counter), 1U)
        << said.counter << ": " << said.reason;
    return said;
  }

  void cover_prefix() {
    np_cidr_key key{};
    key.prefixlen = 16 + 96 + 16;
    key.port_be = htons(80);
    std::memcpy(key.ip, IpAddress::parse("10.97.0.0")->bytes.data(), sizeof(key.ip));
    np_svc value{};
    value.svc_id = 9;
    value.action = NP_ACTION_CAPTURE;
    std::memcpy(value.name, "outside", sizeof("outside"));
    ASSERT_EQ(map_update(loader_->map_fd(Map::kCidr), &key, &value, false), 0);
  }

  std::unique_ptr<CaptureReplay> replay_;
};

TEST_F(ReplayTest, AgreesWithTheProgram) {
  Rng dice(11);
  cover_prefix();
  std::map<std::string, int> seen;
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    const auto fail = [&dice] { return static_cast<np_fail>(dice.below(3)); };
    static constexpr np_action kActions[] = {NP_ACTION_CAPTURE, NP_ACTION_CAPTURE,
                                             NP_ACTION_CAPTURE, NP_ACTION_BYPASS,
                                             NP_ACTION_REJECT,  NP_ACTION_DRAIN};
    capture("10.96.0.10:80", fail(), kActions[dice.below(6)]);
    capture("[fd96::10]:80", fail(), kActions[dice.below(6)]);
    beat(dice.below(5) == 0 ? std::chrono::seconds(9) : Duration(0));
    static constexpr uint32_t kFlags[] = {
        0, 0, 0, 0, NP_LIVE_OVERLOAD, NP_LIVE_DRAIN, NP_LIVE_KILLSWITCH};
    const uint32_t flags = kFlags[dice.below(7)];
    change_live([flags](np_live& live) { live.flags = flags; });
    const uint32_t most = dice.below(4) == 0 ? 1 : 0;
    const uint32_t rate = dice.below(4) == 0 ? 1 : 0;
    const np_fail of_pod = fail();
    change_pod([&](np_pod& pod) {
      pod.max_flows = most;
      pod.syn_rate = pod.syn_burst = rate;
      pod.fail = static_cast<uint8_t>(of_pod);
    });
    Packet packet;
    packet.source_port = static_cast<uint16_t>(20000 + round);  // a new connection
    if (dice.below(3) == 0) {
      packet.source = "fd77::1:2";
      packet.destination = "fd96::10";
    } else if (dice.below(4) == 0) {
      packet.destination = "10.97.3.4";
    }
    if (dice.below(8) == 0) packet.destination_port = 81;
    if (dice.below(8) == 0) {
      packet.source = std::string(packet.source).starts_with("fd") ? "fd77::9" : "10.77.1.99";
    }
    ++seen[compare(packet).counter];
  }
  for (const char* counter :
       {"captured", "bypass", "bypass_action", "bypass_drain", "reject", "killswitch", "failopen",
        "failclosed", "spoof", "spoof_drop", "cap_flows", "cap_rate"}) {
    EXPECT_GE(seen[counter], 3) << counter;
  }
}

TEST_F(ReplayTest, AnEmptySlotAndAMissingConfiguration) {
  EXPECT_EQ(compare(Packet()).outcome, Outcome::kCaptured);
  for (uint32_t index = 0; index < NP_LISTENERS_MAX; ++index) {
    map_erase(loader_->map_fd(Map::kListeners), &index);
  }
  Packet next;
  next.source_port = 40001;
  const control::CaptureVerdict said = compare(next);
  EXPECT_EQ(said.counter, "failopen");
  EXPECT_NE(said.reason.find("no listener"), std::string::npos) << said.reason;
  change_config([](np_config& config) { config.np0_ifindex = 0; });
  next.source_port = 40002;
  EXPECT_EQ(compare(next).counter, "err_config");
}

}  // namespace
}  // namespace np::kernel
