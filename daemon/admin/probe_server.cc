// SPDX-License-Identifier: Apache-2.0
#include "admin/probe_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace np::admin {
namespace {

constexpr int kBacklog = 128;
constexpr size_t kClientsMax = 64;
constexpr size_t kHeadMax = 4096;
constexpr Duration kPatience = std::chrono::seconds(1);
constexpr Duration kPause = std::chrono::milliseconds(100);

std::string response(const char* status, const std::string& body, bool has_body) {
  return std::string("HTTP/1.1 ") + status +
         "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
         std::to_string(body.size()) +
         "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
         "Connection: close\r\n\r\n" +
         (has_body ? body : "");
}

// The next word of a request line; takes it away.
std::string_view next_word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

}  // namespace

Result<std::unique_ptr<ProbeServer>> ProbeServer::listen(const SocketAddress& bind,
                                                         HealthSource& health) {
  const std::string what = "listen on " + bind.to_string() + " for probes";
  const std::string hint = "choose another address with --probes, or say --probes off";
  sockaddr_storage address{};
  const socklen_t size = bind.to_sockaddr(&address);
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!fd.is_open() || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return system_error(errno, what, hint);
  }
  Fd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.is_open()) return system_error(errno, what);
  return std::unique_ptr<ProbeServer>(new ProbeServer(std::move(fd), std::move(stop), health));
}

void ProbeServer::start() {
  thread_ = std::thread([this] { run(); });
}

ProbeServer::~ProbeServer() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void ProbeServer::run() {
  std::vector<bool> is_readable;
  bool has_newcomers = false;
  while (wait(is_readable, has_newcomers)) {
    const Instant now = monotonic_now();
    size_t kept = 0;
    for (size_t i = 0; i < clients_.size(); ++i) {
      if (now >= clients_[i].until || (is_readable[i] && read(clients_[i]))) continue;
      if (kept != i) clients_[kept] = std::move(clients_[i]);
      ++kept;
    }
    clients_.resize(kept);
    if (has_newcomers) accept_newcomers();
  }
}

bool ProbeServer::wait(std::vector<bool>& is_readable, bool& has_newcomers) {
  const Instant now = monotonic_now();
  const bool accepts = now >= accepts_from_;
  Instant wake = accepts ? kNever : accepts_from_;
  std::vector<pollfd> polled = {{stop_.get(), POLLIN, 0},
                                {accepts ? listener_.get() : -1, POLLIN, 0}};
  const size_t others = polled.size();
  for (const Client& client : clients_) {
    polled.push_back({client.fd.get(), POLLIN, 0});
    wake = std::min(wake, client.until);
  }
  int patience_ms = -1;
  if (wake != kNever) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(wake - now);
    patience_ms = static_cast<int>(std::max<int64_t>(left.count(), 0));
  }
  const int ready = ::poll(polled.data(), polled.size(), patience_ms);
  is_readable.assign(clients_.size(), false);
  has_newcomers = false;
  if (ready <= 0) return true;
  if (polled[0].revents != 0) return false;
  has_newcomers = polled[1].revents != 0;
  for (size_t i = 0; i < clients_.size(); ++i) is_readable[i] = polled[others + i].revents != 0;
  return true;
}

void ProbeServer::accept_newcomers() {
  // A bounded number at a time: those who have asked are answered in between.
  for (size_t i = 0; i < kClientsMax; ++i) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.is_open()) {
      const bool is_short = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
      if (is_short) accepts_from_ = monotonic_now() + kPause;
      return;
    }
    Client client{std::move(fd), monotonic_now() + kPatience, {}};
    // Most have asked by the time they are accepted, and then need no place.
    if (read(client)) continue;
    if (clients_.size() >= kClientsMax) clients_.erase(clients_.begin());
    clients_.push_back(std::move(client));
  }
}

bool ProbeServer::read(Client& client) {
  std::array<char, 1024> chunk;
  for (;;) {
    const ssize_t got = ::recv(client.fd.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno != EAGAIN;
    client.head.append(chunk.data(), static_cast<size_t>(got));
    if (client.head.find("\r\n\r\n") != std::string::npos) break;
    if (got == 0 || client.head.size() > kHeadMax) return true;
  }
  // It fits into any socket's buffer: a client that does not read it makes nobody wait.
  const std::string text = answer(client.head);
  (void)!::send(client.fd.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return true;
}

std::string ProbeServer::answer(std::string_view head) {
  std::string_view line = head.substr(0, head.find("\r\n"));
  const std::string_view method = next_word(line);
  std::string_view path = next_word(line);
  path = path.substr(0, path.find('?'));
  const bool has_body = method != "HEAD";
  if (method != "GET" && method != "HEAD") {
    return response("405 Method Not Allowed", "GET only\n", true);
  }
  std::string problem;
  if (path == "/livez") {
    problem = health_.liveness_problem();
  } else if (path == "/readyz") {
    problem = health_.readiness_problem();
  } else {
    return response("404 Not Found", "there is /livez and /readyz\n", has_body);
  }
  if (problem.empty()) return response("200 OK", "ok\n", has_body);
  return response("503 Service Unavailable", problem + "\n", has_body);
}

}  // namespace np::admin
