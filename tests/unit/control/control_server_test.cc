// SPDX-License-Identifier: Apache-2.0
// The control socket against clients of every kind: several at once, slow, silent, greedy, and
// those that send bytes that are no request.
#include "control/control_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/random.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

using std::chrono::milliseconds;

// Polls a server on a thread of its own until it goes.
class ServerLoop {
 public:
  ServerLoop(const std::string& run_dir, ServerLimits limits, ControlServer::Handler handler)
      : run_dir_(run_dir), stop_(::eventfd(0, EFD_CLOEXEC)) {
    auto listener = open_control_socket(run_dir, "");
    EXPECT_TRUE(listener);
    server_ = std::make_unique<ControlServer>(std::move(listener).value(), "", std::move(handler),
                                              limits);
    thread_ = std::thread([this] { run(); });
  }
  ~ServerLoop() {
    const uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
  }

  // A connected client; what it reads gives up after five seconds.
  Fd connect() const {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = run_dir_ + "/" + kControlSocketName;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval limit{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
  }

 private:
  void run() {
    for (;;) {
      std::vector<pollfd> polls = {{stop_.get(), POLLIN, 0}};
      server_->append_polls(polls);
      ASSERT_GE(::poll(polls.data(), polls.size(), 10), 0);
      if (polls[0].revents != 0) return;
      server_->on_poll(std::span<const pollfd>(polls).subspan(1), monotonic_now());
    }
  }

  std::string run_dir_;
  Fd stop_;
  std::unique_ptr<ControlServer> server_;
  std::thread thread_;
};

std::string frame(const std::string& body, size_t announced) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes += static_cast<char>((announced >> static_cast<unsigned>(shift)) & 0xffU);
  }
  return bytes + body;
}
std::string frame(const std::string& body) {
  return frame(body, body.size());
}

void send_bytes(const Fd& fd, const std::string& bytes) {
  // The server may have hung up already, which is what some tests want.
  [[maybe_unused]] const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// Everything up to the end; "<timeout>" when there is no end.
std::string read_to_end(const Fd& fd) {
  std::string bytes;
  char chunk[4096];
  for (;;) {
    const ssize_t got = ::recv(fd.get(), chunk, sizeof(chunk), 0);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return bytes;
    if (got < 0) return "<timeout>";
    bytes.append(chunk, static_cast<size_t>(got));
  }
}

std::string echo(std::string_view request, const Peer& peer) {
  return "{\"got\":" + std::to_string(request.size()) + ",\"uid\":" + std::to_string(peer.uid) +
         "}";
}

std::string expected_echo(size_t size) {
  return frame("{\"got\":" + std::to_string(size) + ",\"uid\":" + std::to_string(::geteuid()) +
               "}");
}

class ControlServerTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
};

TEST_F(ControlServerTest, TheSocketIsForOwnerAndGroup) {
  const auto listener = open_control_socket(directory_.path(), "");
  ASSERT_TRUE(listener);
  struct stat info {};
  ASSERT_EQ(::stat((directory_.path() + "/control.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0660U);
}

TEST_F(ControlServerTest, AStaleSocketIsReplacedALivingOneIsNot) {
  { ASSERT_TRUE(open_control_socket(directory_.path(), "")); }
  const auto living = open_control_socket(directory_.path(), "");
  ASSERT_TRUE(living);
  const auto second = open_control_socket(directory_.path(), "");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
}

TEST_F(ControlServerTest, APathTooLongForASocketIsRefused) {
  EXPECT_FALSE(open_control_socket(directory_.path() + "/" + std::string(120, 'x'), ""));
}

TEST_F(ControlServerTest, AnswersARequestAndNamesThePeer) {
  const ServerLoop loop(directory_.path(), {}, echo);
  const Fd client = loop.connect();
  send_bytes(client, frame("hello"));
  EXPECT_EQ(read_to_end(client), expected_echo(5));
}

TEST_F(ControlServerTest, ARequestMayComeByteByByteWhileOthersAreServed) {
  const ServerLoop loop(directory_.path(), {}, echo);
  const Fd slow = loop.connect();
  for (const char c : frame("slow")) {
    send_bytes(slow, std::string(1, c));
    const Fd other = loop.connect();
    send_bytes(other, frame("quick!"));
    ASSERT_EQ(read_to_end(other), expected_echo(6));
  }
  EXPECT_EQ(read_to_end(slow), expected_echo(4));
}

TEST_F(ControlServerTest, LargeRequestsAndAnswersPass) {
  const std::string big(8U << 20U, 'x');
  const ServerLoop loop(directory_.path(), {}, [&big](std::string_view request, const Peer&) {
    return request.size() == big.size() ? big : "";
  });
  const Fd client = loop.connect();
  std::thread writer([&] { send_bytes(client, frame(big)); });
  const std::string answer = read_to_end(client);
  writer.join();
  EXPECT_EQ(answer.size(), kLengthBytes + big.size());
}

TEST_F(ControlServerTest, AnEmptyRequestIsHandedOn) {
  const ServerLoop loop(directory_.path(), {}, echo);
  const Fd client = loop.connect();
  send_bytes(client, frame(""));
  EXPECT_EQ(read_to_end(client), expected_echo(0));
}

TEST_F(ControlServerTest, AnAnnouncedLengthAboveTheLimitEndsTheClientAtOnce) {
  ServerLimits limits;
  limits.request_bytes_max = 1000;
  const ServerLoop loop(directory_.path(), limits, echo);
  for (const size_t announced : {size_t{1001}, size_t{0x7fffffff}, size_t{0xffffffff}}) {
    const Fd client = loop.connect();
    send_bytes(client, frame("", announced));
    EXPECT_EQ(read_to_end(client), "");
  }
  const Fd honest = loop.connect();
  send_bytes(honest, frame(std::string(1000, 'x')));
  EXPECT_EQ(read_to_end(honest), expected_echo(1000));
}

TEST_F(ControlServerTest, BytesAfterTheRequestEndTheClient) {
  const ServerLoop loop(directory_.path(), {}, echo);
  const Fd client = loop.connect();
  send_bytes(client, frame("two") + "more");
  EXPECT_EQ(read_to_end(client), "");
}

TEST_F(ControlServerTest, AClientThatNeverFinishesIsDropped) {
  ServerLimits limits;
  limits.request_time = milliseconds(50);
  const ServerLoop loop(directory_.path(), limits, echo);
  const Fd silent = loop.connect();
  const Fd half = loop.connect();
  send_bytes(half, frame("half", 100));
  EXPECT_EQ(read_to_end(silent), "");
  EXPECT_EQ(read_to_end(half), "");
}

TEST_F(ControlServerTest, DrippingBytesDoesNotExtendTheTime) {
  ServerLimits limits;
  limits.request_time = milliseconds(100);
  const ServerLoop loop(directory_.path(), limits, echo);
  const Fd client = loop.connect();
  send_bytes(client, frame("", 1000));
  const Instant begin = monotonic_now();
  pollfd poll{client.get(), POLLIN, 0};
  while (::poll(&poll, 1, 5) == 0 && monotonic_now() - begin < std::chrono::seconds(3)) {
    send_bytes(client, "x");
  }
  EXPECT_LT(monotonic_now() - begin, std::chrono::seconds(2));
}

TEST_F(ControlServerTest, AClientThatDoesNotReadIsDropped) {
  ServerLimits limits;
  limits.answer_time = milliseconds(50);
  limits.clients_max = 1;
  const std::string big(4U << 20U, 'x');
  const ServerLoop loop(directory_.path(), limits,
                        [&](std::string_view, const Peer&) { return big; });
  const Fd deaf = loop.connect();
  send_bytes(deaf, frame("give"));
  const Fd next = loop.connect();  // waits in the backlog until the deaf one is gone
  send_bytes(next, frame("give"));
  EXPECT_EQ(read_to_end(next).size(), kLengthBytes + big.size());
}

TEST_F(ControlServerTest, MoreClientsThanAllowedWaitTheirTurn) {
  ServerLimits limits;
  limits.clients_max = 2;
  const ServerLoop loop(directory_.path(), limits, echo);
  std::vector<Fd> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(loop.connect());
  for (const Fd& client : clients) send_bytes(client, frame("hi"));
  for (const Fd& client : clients) EXPECT_EQ(read_to_end(client), expected_echo(2));
}

TEST_F(ControlServerTest, BufferedBytesAreBoundedOverAllClients) {
  ServerLimits limits;
  limits.request_bytes_max = 1000;
  limits.buffered_bytes_max = 1500;
  const ServerLoop loop(directory_.path(), limits, echo);
  const Fd first = loop.connect();
  send_bytes(first, frame(std::string(900, 'x'), 1000));
  ::usleep(100'000);
  const Fd second = loop.connect();
  send_bytes(second, frame(std::string(900, 'x'), 1000));
  EXPECT_EQ(read_to_end(second), "");
  send_bytes(first, std::string(100, 'x'));
  EXPECT_EQ(read_to_end(first), expected_echo(1000));
}

TEST_F(ControlServerTest, RandomBytesNeverStopTheServer) {
  ServerLimits limits;
  limits.request_time = milliseconds(20);
  limits.request_bytes_max = 4096;
  const ServerLoop loop(directory_.path(), limits, echo);
  Rng rng(20260131);
  for (int round = 0; round < 300; ++round) {
    const Fd client = loop.connect();
    std::string bytes(rng.below(64), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.below(256));
    // Half of them with a length that is possible.
    if (rng.chance(1, 2)) bytes = frame(bytes, rng.below(128));
    send_bytes(client, bytes);
    if (rng.chance(1, 2)) ::shutdown(client.get(), SHUT_WR);
    if (rng.chance(1, 4)) (void)read_to_end(client);
  }
  const Fd client = loop.connect();
  send_bytes(client, frame("still there"));
  EXPECT_EQ(read_to_end(client), expected_echo(11));
}

}  // namespace
}  // namespace np::control
