// SPDX-License-Identifier: Apache-2.0
// The supervisor believes nothing that comes over the link.
#include "kernel/worker_requests.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/random.h"
#include "kernel/worker_link.h"

namespace np::kernel {
namespace {

class WorkerRequestsTest : public ::testing::Test {
 protected:
  WorkerRequestsTest() {
    auto ends = LinkChannel::make_pair();
    mine_ = std::move(ends->first);
    theirs_ = Fd(ends->second.release());
    state_.gateways = &gateways_;
    requests_ = std::make_unique<WorkerRequests>(
        state_, [this] { ++ready_; }, [this] { ++drained_; });
    channel_ = std::make_unique<LinkChannel>(std::move(mine_));
  }

  // Sends raw bytes as the worker; whether the supervisor keeps it.
  bool survives(const std::string& bytes) {
    EXPECT_EQ(::send(theirs_.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    Result<LinkMessage> message = channel_->receive(Duration(0));
    return message && requests_->serve(*channel_, *message).has_value();
  }

  static std::string message(link::Kind kind, const std::string& body) {
    link::Header header;
    header.kind = kind;
    header.id = 9;
    header.body_bytes = static_cast<uint32_t>(body.size());
    return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body;
  }
  template <typename T>
  static std::string body(const T& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  link::Answer answer() {
    char bytes[link::kMessageBytesMax];
    link::Answer found{};
    const ssize_t got = ::recv(theirs_.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    EXPECT_EQ(got, static_cast<ssize_t>(sizeof(link::Header) + sizeof(found)));
    std::memcpy(&found, bytes + sizeof(link::Header), sizeof(found));
    return found;
  }

  Fd mine_, theirs_;
  GatewayListeners gateways_;
  SharedState state_;
  std::unique_ptr<WorkerRequests> requests_;
  std::unique_ptr<LinkChannel> channel_;
  int ready_ = 0, drained_ = 0;
};

TEST_F(WorkerRequestsTest, ServesTheClosedListOnly) {
  EXPECT_TRUE(survives(message(link::Kind::kReady, std::string(4, 0))));
  EXPECT_EQ(ready_, 1);
  EXPECT_EQ(answer().is_error, 0U);
  EXPECT_TRUE(survives(message(link::Kind::kDrain, std::string(4, 0))));
  EXPECT_EQ(drained_, 1);
  for (const uint32_t kind : {0U, 1U, 2U, 15U, 24U, 32U, 33U, 0xffffffffU}) {
    EXPECT_FALSE(survives(message(static_cast<link::Kind>(kind), ""))) << kind;
  }
}

TEST_F(WorkerRequestsTest, WithoutCaptureThereIsNothingToAccelerate) {
  for (const auto kind : {link::Kind::kTestAcceleration, link::Kind::kGetAcceleration}) {
    EXPECT_TRUE(survives(message(kind, std::string(4, 0))));
    const link::Answer refused = answer();
    EXPECT_EQ(refused.is_error, 1U);
    EXPECT_EQ(link::get_text(refused.detail), "the daemon runs with --no-capture");
  }
}

TEST_F(WorkerRequestsTest, AWorkerWithoutCaptureHearsOfTheKernelOnly) {
  EXPECT_TRUE(survives(message(link::Kind::kCheckNode, std::string(4, 0))));
  LinkChannel theirs(Fd(theirs_.release()));
  const Result<LinkMessage> first = theirs.receive(Duration(0));
  ASSERT_TRUE(first);
  ASSERT_EQ(first->kind, link::Kind::kNodeChecks);
  std::string text(first->as<link::NodeChecks>()->bytes, '\0');
  ASSERT_EQ(::pread(first->fd.get(), text.data(), text.size(), 0),
            static_cast<ssize_t>(text.size()));
  EXPECT_EQ(text.rfind("0\tok\tkernel\trelease\tLinux ", 0), 0U) << text;
  EXPECT_EQ(text.back(), '\n');
  const Result<LinkMessage> last = theirs.receive(Duration(0));
  ASSERT_TRUE(last);
  EXPECT_EQ(last->as<link::Answer>()->is_error, 0U);
}

TEST_F(WorkerRequestsTest, MalformedMessagesAreRefused) {
  EXPECT_FALSE(survives("x"));
  EXPECT_FALSE(survives(std::string(link::kMessageBytesMax + 1, 'x')));
  EXPECT_FALSE(survives(std::string(sizeof(link::Header), '\0')));
  std::string lying = message(link::Kind::kReady, "abcd");
  lying.pop_back();
  EXPECT_FALSE(survives(lying));
  EXPECT_FALSE(survives(message(link::Kind::kAttachPod, "short")));
  EXPECT_FALSE(survives(message(link::Kind::kDetachPod, "")));
  EXPECT_FALSE(survives(message(link::Kind::kSetListeners, std::string(8, 'x'))));
}

TEST_F(WorkerRequestsTest, HostileFieldsAreRefused) {
  link::AttachPod pod;
  pod.pod_id = 1;
  link::put_text(pod.name, "a/b");
  link::put_text(pod.ifname, "../x");
  EXPECT_FALSE(survives(message(link::Kind::kAttachPod, body(pod))));
  link::put_text(pod.ifname, "vpod");
  pod.address_count = 9;
  EXPECT_FALSE(survives(message(link::Kind::kAttachPod, body(pod))));
  pod.address_count = 1;
  std::memset(pod.name, 'x', sizeof(pod.name));  // no end
  EXPECT_FALSE(survives(message(link::Kind::kAttachPod, body(pod))));
  link::put_text(pod.name, "a\nb");
  EXPECT_FALSE(survives(message(link::Kind::kAttachPod, body(pod))));
  link::SetListeners listeners;
  listeners.count = 65;
  EXPECT_FALSE(survives(message(link::Kind::kSetListeners, body(listeners))));
  listeners.count = 1;  // port 0
  EXPECT_FALSE(survives(message(link::Kind::kSetListeners, body(listeners))));
  EXPECT_FALSE(survives(message(link::Kind::kSetBand, body(link::SetBand{2, 1}))));
  link::NoteEndpoint note;
  note.kind = NP_EVENT_CLOSE;  // of a flow: only programs say so
  EXPECT_FALSE(survives(message(link::Kind::kNoteEndpoint, body(note))));
  note.kind = NP_EVENT_LAST + 1;
  EXPECT_FALSE(survives(message(link::Kind::kNoteEndpoint, body(note))));
}

TEST_F(WorkerRequestsTest, CaptureRequestsWithoutCaptureSaySo) {
  link::AttachPod pod;
  pod.pod_id = 1;
  link::put_text(pod.name, "a/b");
  link::put_text(pod.ifname, "vpod");
  EXPECT_TRUE(survives(message(link::Kind::kAttachPod, body(pod))));
  const link::Answer refused = answer();
  EXPECT_EQ(refused.is_error, 1U);
  EXPECT_NE(link::get_text(refused.detail).find("--no-capture"), std::string::npos);
}

TEST_F(WorkerRequestsTest, RandomBytesNeverGetThrough) {
  Rng random(20261123);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = message(static_cast<link::Kind>(random.next() % 40),
                                std::string(random.next() % 600, '\0'));
    const uint64_t flips = random.next() % 8;
    for (uint64_t i = 0; i < flips; ++i) {
      bytes[random.next() % bytes.size()] = static_cast<char>(random.next());
    }
    (void)survives(bytes);
    char drained[link::kMessageBytesMax];
    while (::recv(theirs_.get(), drained, sizeof(drained), MSG_DONTWAIT) > 0) {
    }
  }
}

}  // namespace
}  // namespace np::kernel
