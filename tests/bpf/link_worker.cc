// SPDX-License-Identifier: Apache-2.0
// A daemon in small, to test the supervisor with: the real supervisor, and a worker that attaches
// one pod, captures one address and answers every connection with a line about itself. Written
// against the public interface only: kernel/supervisor.h, kernel/worker_link.h, kernel/sandbox.h.
//
//   np_link_worker INSTANCE capture|gateway
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/log.h"
#include "base/time.h"
#include "kernel/sandbox.h"
#include "kernel/supervisor.h"
#include "kernel/worker_link.h"

namespace {

using namespace np;

constexpr int kDescriptorsMax = 512;
volatile sig_atomic_t g_stop = 0;

// What the sandbox must refuse: each answers with its errno.
std::string sandbox_report() {
  std::string report = "uid=" + std::to_string(::getuid());
  ::execl("/bin/true", "true", nullptr);
  report += " exec=" + std::to_string(errno);
  const long ring = ::syscall(SYS_io_uring_setup, 1, nullptr);
  report += " ring=" + std::to_string(ring < 0 ? errno : 0);
  const long program = ::syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, nullptr, 0);
  report += " prog=" + std::to_string(program < 0 ? errno : 0);
  const long trace = ::syscall(SYS_ptrace, 0, 0, 0, 0);
  report += " ptrace=" + std::to_string(trace < 0 ? errno : 0);
  const int raw = ::socket(AF_PACKET, SOCK_RAW, 0);
  report += " packet=" + std::to_string(raw < 0 ? errno : 0);
  const int file = ::open("/etc/shadow", O_RDONLY);
  report += " shadow=" + std::to_string(file < 0 ? errno : 0);
  return report;
}

// For every map that this process holds: the errno of a write to it. A key that is not there is
// removed, so that nothing changes where writing is allowed.
std::string write_report() {
  std::string report;
  for (int fd = 0; fd < kDescriptorsMax; ++fd) {
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (::bpf_obj_get_info_by_fd(fd, &info, &size) != 0 || info.name[0] == 0) continue;
    const std::string key(info.key_size, 0);
    const int failed = ::bpf_map_delete_elem(fd, key.data()) == 0 ? 0 : errno;
    report += std::string(" write_") + info.name + "=" + std::to_string(failed);
  }
  return report;
}

std::string describe(kernel::WorkerLink& link) {
  auto* words = reinterpret_cast<uint64_t*>(link.counter_block(0).data());
  ++words[0];
  std::string line = "pid=" + std::to_string(::getpid()) +
                     " epoch=" + std::to_string(link.epoch()) +
                     " lost=" + std::to_string(link.has_lost_predecessor() ? 1 : 0) +
                     " served=" + std::to_string(words[0]);
  for (const control::PodState& pod : link.list()) {
    line += " pod=" + std::to_string(pod.pod_id) + "/" + pod.hook + "/" + pod.problem;
  }
  return line;
}

void answer(int listener, kernel::WorkerLink& link, const std::string& sandbox) {
  const Fd client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!client.is_open()) return;
  const std::string line = describe(link) + " " + sandbox + "\n";
  ::send(client.get(), line.data(), line.size(), MSG_NOSIGNAL);
  char byte;
  if (::recv(client.get(), &byte, 1, 0) == 1 && byte == 'd') (void)link.detach_all();
  const linger orderly{0, 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &orderly, sizeof(orderly));
}

Result<void> prepare(kernel::WorkerLink& link, const std::string& mode) {
  if (mode == "gateway") return link.set({*SocketAddress::parse("127.0.0.1:18080")});
  const control::PodAttachment pod{
      1, "shop/front", {*IpAddress::parse("10.77.1.2"), *IpAddress::parse("fd77::1:2")}, "vpod"};
  NP_TRY_ASSIGN(const control::PodState state, link.attach(pod));
  if (!state.problem.empty()) return Error{ErrorCode::kSystem, "attach", state.problem, ""};
  policy::Snapshot snapshot;
  snapshot.generation = 1;
  snapshot.capture_entries.push_back(
      {*SocketAddress::parse("10.96.0.10:80"), 7, policy::FailMode::kClosed, "web.shop"});
  return link.capture_table().add(snapshot);
}

Result<void> work(int fd, const std::string& mode) {
  NP_TRY_ASSIGN(auto link, kernel::WorkerLink::from_fd(Fd(fd)));
  struct sigaction action {};
  action.sa_handler = [](int) { g_stop = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  NP_TRY(prepare(*link, mode));
  NP_TRY_ASSIGN(const kernel::SandboxReport report, kernel::enter_sandbox({}));
  for (const std::string& note : report.notes) log_info(note);
  const std::string sandbox = sandbox_report() + write_report();
  link->beat(to_ns(monotonic_now()));
  NP_TRY(link->ready());
  while (g_stop == 0 && !link->is_supervisor_gone()) {
    std::vector<pollfd> polled;
    for (const auto& l : link->capture_listeners()) polled.push_back({l.fd, POLLIN, 0});
    for (const auto& l : link->gateway_listeners()) polled.push_back({l.fd, POLLIN, 0});
    ::poll(polled.data(), polled.size(), 100);
    link->beat(to_ns(monotonic_now()));
    for (const pollfd& p : polled) {
      if (p.revents & POLLIN) answer(p.fd, *link, sandbox);
    }
  }
  return ok();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string last = argv[argc - 1];
  const std::string prefix = "--worker-link=";
  if (argc < 3) return 2;
  if (last.rfind(prefix, 0) == 0) {
    int link_fd = -1;
    std::from_chars(last.data() + prefix.size(), last.data() + last.size(), link_fd);
    const Result<void> done = work(link_fd, argv[2]);
    if (!done) log_error(done.error().to_string());
    return done ? 0 : 1;
  }
  kernel::SupervisorOptions options;
  options.instance = argv[1];
  options.capture = std::string(argv[2]) == "capture";
  options.drain_time = std::chrono::seconds(2);
  options.worker_arguments = {argv[1], argv[2]};
  return kernel::run_supervisor(options);
}
