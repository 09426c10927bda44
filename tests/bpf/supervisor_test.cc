// SPDX-License-Identifier: Apache-2.0
// The supervisor as a process: restart, take-over, stop and detach, seen from a pod.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <thread>

#include "bpf/capture_fixture.h"
#include "kernel/supervisor.h"

namespace np::kernel {
namespace {

constexpr const char* kService = "10.96.0.10:80";

class SupervisorProcess : public PodFixture {
 protected:
  void TearDown() override {
    if (supervisor_ > 0) {
      ::kill(supervisor_, SIGKILL);
      wait_for_end();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // its worker sees the end
    if (!instance_.empty()) {
      SupervisorOptions options;
      options.instance = instance_;
      EXPECT_TRUE(detach_instance(options).has_value());
    }
    PodFixture::TearDown();
  }

  void start(const char* mode = "capture") {
    supervisor_ = ::fork();
    if (supervisor_ != 0) return;
    ::execl(NP_LINK_WORKER, NP_LINK_WORKER, instance_.c_str(), mode, nullptr);
    ::_exit(127);
  }

  int wait_for_end() {
    int status = 0;
    ::waitpid(supervisor_, &status, 0);
    supervisor_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  // The line that the worker answers a new connection with; empty when none could be made.
  // `keep`: the connection stays open there.
  std::string ask(Fd* keep = nullptr, const char* last_word = "") {
    Fd socket;
    if (connect_from_pod(kService, &socket) != 0) return "";
    ::fcntl(socket.get(), F_SETFL, 0);
    const timeval limit{3, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    std::string line;
    char c;
    while (::recv(socket.get(), &c, 1, 0) == 1 && c != '\n') line += c;
    if (*last_word != 0) ::send(socket.get(), last_word, 1, MSG_NOSIGNAL);
    if (keep != nullptr) *keep = std::move(socket);
    return line;
  }

  std::string ask_until_ready() {
    for (int i = 0; i < 100; ++i) {
      const std::string line = ask();
      if (!line.empty()) return line;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return "";
  }

  static std::string field(const std::string& line, const std::string& name) {
    const size_t at = line.find(name + "=");
    if (at == std::string::npos) return "";
    const size_t from = at + name.size() + 1;
    return line.substr(from, line.find(' ', from) - from);
  }

  // The worker that answered `line`; nobody when it names none.
  static void kill_worker(const std::string& line) {
    const std::string text = field(line, "pid");
    pid_t pid = 0;
    std::from_chars(text.data(), text.data() + text.size(), pid);
    if (pid > 1) ::kill(pid, SIGKILL);
  }

  std::vector<std::string> links() {
    std::vector<std::string> names;
    DIR* directory = ::opendir((names_.pin_base + "/v1/links").c_str());
    if (directory == nullptr) return names;
    while (const dirent* entry = ::readdir(directory)) {
      if (entry->d_name[0] != '.') names.push_back(entry->d_name);
    }
    ::closedir(directory);
    return names;
  }

  pid_t supervisor_ = -1;
};

TEST_F(SupervisorProcess, WorkerIsServedAgainAtOnceAfterAKill) {
  if (IsSkipped()) return;
  make_pod(PodKind::kRouted);
  start();
  Fd open_connection;
  ASSERT_NE(ask_until_ready(), "");
  const std::string first = ask(&open_connection);
  EXPECT_EQ(field(first, "epoch"), "1");
  EXPECT_EQ(field(first, "lost"), "0");
  EXPECT_EQ(field(first, "pod"), has_tcx() ? "1/tcx/" : "1/clsact/");
  kill_worker(first);
  // Fail closed, so a connection made now is either served or refused: it must be served.
  const auto before = std::chrono::steady_clock::now();
  const std::string second = ask();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
  EXPECT_EQ(field(second, "epoch"), "2") << second;
  EXPECT_EQ(field(second, "lost"), "1");
  EXPECT_EQ(field(second, "served"), "3") << "counters outlive a worker";
  char byte;
  EXPECT_EQ(::recv(open_connection.get(), &byte, 1, 0), -1) << "reset, not an early end";
  for (int round = 3; round < 6; ++round) {
    kill_worker(ask());
    EXPECT_NE(ask_until_ready(), "") << "after kill number " << round;
  }
}

TEST_F(SupervisorProcess, SandboxHolds) {
  if (IsSkipped()) return;
  make_pod(PodKind::kRouted);
  start();
  const std::string line = ask_until_ready();
  EXPECT_NE(field(line, "uid"), "0");
  for (const char* refused : {"exec", "ring", "prog", "ptrace", "packet"}) {
    EXPECT_EQ(field(line, refused), std::to_string(EPERM)) << refused;
  }
  EXPECT_EQ(field(line, "shadow"), std::to_string(EACCES));
}

// R47, R48: of each map the worker holds a descriptor that can do what its work needs, or none.
TEST_F(SupervisorProcess, WorkerCannotWriteWhatItOnlyReads) {
  if (IsSkipped()) return;
  make_pod(PodKind::kRouted);
  start();
  const std::string line = ask_until_ready();
  ASSERT_NE(line, "");
  for (const char* read :
       {"np_config", "np_listeners", "np_pods", "np_podst", "np_flows", "np_stats"}) {
    EXPECT_EQ(field(line, std::string("write_") + read), std::to_string(EPERM)) << read;
  }
  // No such key in a hash; entries of an array cannot be removed.
  for (const char* written : {"np_svc", "np_svcst", "np_cidr", "np_eject"}) {
    EXPECT_EQ(field(line, std::string("write_") + written), std::to_string(ENOENT)) << written;
  }
  for (const char* mapped : {"np_live", "np_conn", "np_counters", "np_limit"}) {
    EXPECT_EQ(field(line, std::string("write_") + mapped), std::to_string(EINVAL)) << mapped;
  }
  EXPECT_EQ(field(line, "write_np_events"), "");
}

TEST_F(SupervisorProcess, StopIsOrderlyAndTheNextOneTakesOver) {
  if (IsSkipped()) return;
  make_pod(PodKind::kBridged);
  start();
  ASSERT_NE(ask_until_ready(), "");
  const std::vector<std::string> before = links();
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(wait_for_end(), 0);
  Fd socket;
  EXPECT_EQ(connect_from_pod(kService, &socket), ECONNREFUSED) << "fail closed, empty slot";
  start();
  const std::string line = ask_until_ready();
  EXPECT_EQ(field(line, "epoch"), "2");
  EXPECT_EQ(field(line, "lost"), "0") << "it ended in order";
  EXPECT_EQ(field(line, "served"), "2");
  EXPECT_EQ(links(), before) << "no second link for a hook (R39)";
}

TEST_F(SupervisorProcess, BothKilledThenTakenOver) {
  if (IsSkipped()) return;
  make_pod(PodKind::kRouted);
  start();
  const std::string first = ask_until_ready();
  ASSERT_NE(first, "");
  ::kill(supervisor_, SIGKILL);
  kill_worker(first);
  wait_for_end();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  Fd socket;
  EXPECT_EQ(connect_from_pod(kService, &socket), ECONNREFUSED);
  start();
  const std::string line = ask_until_ready();
  EXPECT_EQ(field(line, "lost"), "1");
  EXPECT_EQ(field(line, "epoch"), "2");
}

TEST_F(SupervisorProcess, DetachAllLeavesNothing) {
  if (IsSkipped()) return;
  make_pod(PodKind::kRouted);
  start();
  ASSERT_NE(ask_until_ready(), "");
  EXPECT_NE(ask(nullptr, "d"), "");
  // The namespace is what goes last.
  for (int i = 0; i < 100 && ::access(names_.netns_path.c_str(), F_OK) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_NE(::access(names_.pin_base.c_str(), F_OK), 0);
  EXPECT_NE(::access(names_.netns_path.c_str(), F_OK), 0);
  EXPECT_FALSE(run("ip link show " + names_.np0 + " 2>/dev/null"));
}

TEST_F(SupervisorProcess, WithoutCaptureTheSameLoopServesGateways) {
  if (IsSkipped()) return;
  start("gateway");
  const auto ask_gateway = [] {
    std::string line;
    for (int i = 0; i < 100 && line.empty(); ++i) {
      const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_storage storage{};
      const unsigned size = SocketAddress::parse("127.0.0.1:18080")->to_sockaddr(&storage);
      if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        continue;
      }
      char c;
      while (::recv(socket.get(), &c, 1, 0) == 1 && c != '\n') line += c;
    }
    return line;
  };
  const std::string first = ask_gateway();
  EXPECT_EQ(field(first, "epoch"), "1");
  kill_worker(first);
  const std::string second = ask_gateway();
  EXPECT_EQ(field(second, "epoch"), "2");
  EXPECT_EQ(field(second, "served"), "2") << "counters live in the supervisor's memfd";
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(wait_for_end(), 0);
}

}  // namespace
}  // namespace np::kernel
