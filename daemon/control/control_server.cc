// SPDX-License-Identifier: Apache-2.0
#include "control/control_server.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/log.h"

namespace np::control {
namespace {

constexpr int kBacklog = 64;
constexpr size_t kReadBytes = size_t{64} * 1024;
constexpr mode_t kSocketMode = 0660;
constexpr size_t kGroupsMax = 65536;  // NGROUPS_MAX of Linux

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error{
        ErrorCode::kInvalid, "open control socket " + path,
        "the path is longer than " + std::to_string(sizeof(address.sun_path) - 1) + " bytes",
        "give a shorter --run-dir"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

std::optional<gid_t> group_id(const std::string& name) {
  if (name.empty()) return std::nullopt;
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(size_t{64} * 1024);
  const int failed = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (failed != 0 || found == nullptr) return std::nullopt;
  return entry.gr_gid;
}

bool somebody_answers(const sockaddr_un& address) {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return false;
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  return ::connect(fd.get(), generic, sizeof(address)) == 0 || errno == EAGAIN;
}

uint32_t read_length(std::string_view bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length = (length << 8U) | static_cast<unsigned char>(bytes[i]);
  }
  return length;
}

std::string framed(const std::string& json) {
  std::string bytes;
  bytes.reserve(kLengthBytes + json.size());
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes += static_cast<char>((json.size() >> static_cast<unsigned>(shift)) & 0xffU);
  }
  return bytes + json;
}

bool is_in_group(int fd, gid_t primary, gid_t wanted) {
  if (primary == wanted) return true;
  std::vector<gid_t> groups(64);
  for (;;) {
    auto length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0) {
      groups.resize(length / sizeof(gid_t));
      return std::find(groups.begin(), groups.end(), wanted) != groups.end();
    }
    if (errno != ERANGE || groups.size() >= kGroupsMax) return false;
    groups.resize(kGroupsMax);
  }
}

}  // namespace

struct ControlServer::Client {
  enum class State : uint8_t { kReceiving, kSending, kDone };
  Fd fd;
  Peer peer;
  State state = State::kReceiving;
  std::string in;
  std::string out;
  size_t sent = 0;
  Instant deadline = kNever;
};

Result<Fd> open_control_socket(const std::string& run_dir, const std::string& group) {
  const std::string path = run_dir + "/" + kControlSocketName;
  NP_TRY_ASSIGN(const sockaddr_un address, address_of(path));
  if (::mkdir(run_dir.c_str(), 0750) != 0 && errno != EEXIST) {
    return system_error(errno, "create run directory " + run_dir);
  }
  if (somebody_answers(address)) {
    return Error{ErrorCode::kConflict, "open control socket " + path,
                 "another daemon answers on it", "stop it, or give another --run-dir"};
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return system_error(errno, "remove stale control socket " + path);
  }
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return system_error(errno, "make control socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return system_error(errno, "bind control socket " + path);
  }
  // Nobody can connect before listen(), so the mode is right before the first client.
  if (::chmod(path.c_str(), kSocketMode) != 0) {
    return system_error(errno, "set the mode of " + path);
  }
  if (const auto gid = group_id(group)) {
    if (::chown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0) {
      log_warn("control: " + path + " stays out of group " + group + ": " + std::strerror(errno));
    }
  }
  if (::listen(fd.get(), kBacklog) != 0) return system_error(errno, "listen on " + path);
  return fd;
}

ControlServer::ControlServer(Fd listener, std::string_view group, Handler handler,
                             ServerLimits limits)
    : listener_(std::move(listener)), handler_(std::move(handler)), limits_(limits) {
  if (const auto gid = group_id(std::string(group))) {
    has_group_ = true;
    group_ = *gid;
  }
}

ControlServer::~ControlServer() = default;

void ControlServer::append_polls(std::vector<pollfd>& polls) const {
  // At the limit new clients wait in the backlog.
  const bool has_room = clients_.size() < limits_.clients_max;
  polls.push_back({has_room ? listener_.get() : -1, POLLIN, 0});
  for (const auto& client : clients_) {
    const short events = client->state == Client::State::kReceiving ? POLLIN : POLLOUT;
    polls.push_back({client->fd.get(), events, 0});
  }
}

Instant ControlServer::next_deadline() const {
  Instant next = kNever;
  for (const auto& client : clients_) next = std::min(next, client->deadline);
  return next;
}

void ControlServer::on_poll(std::span<const pollfd> polled, Instant now) {
  NP_CHECK(polled.size() == clients_.size() + 1);
  for (size_t i = 0; i < clients_.size(); ++i) {
    Client& client = *clients_[i];
    if (polled[i + 1].revents != 0) {
      if (client.state == Client::State::kReceiving) {
        receive(client, now);
      } else {
        send(client, now);
      }
    } else if (now >= client.deadline) {
      log_debug("control: a client of uid " + std::to_string(client.peer.uid) + " was too slow");
      client.state = Client::State::kDone;
    }
  }
  std::erase_if(clients_, [](const auto& c) { return c->state == Client::State::kDone; });
  if (polled[0].revents != 0) accept_clients(now);
}

void ControlServer::accept_clients(Instant now) {
  while (clients_.size() < limits_.clients_max) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.is_open()) return;
    auto client = std::make_unique<Client>();
    client->peer = peer_of(fd.get());
    client->fd = std::move(fd);
    client->deadline = now + limits_.request_time;
    clients_.push_back(std::move(client));
  }
}

Peer ControlServer::peer_of(int fd) const {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  Peer peer;
  peer.uid = UINT32_MAX;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return peer;
  peer.uid = credentials.uid;
  peer.pid = credentials.pid;
  peer.may_write = credentials.uid == 0 || credentials.uid == ::geteuid() ||
                   (has_group_ && is_in_group(fd, credentials.gid, group_));
  return peer;
}

size_t ControlServer::buffered_bytes() const {
  size_t total = 0;
  for (const auto& client : clients_) total += client->in.size();
  return total;
}

// Memory grows with the bytes that came, never with the length that was announced.
void ControlServer::receive(Client& client, Instant now) {
  std::array<char, kReadBytes> chunk;
  for (;;) {
    const ssize_t got = ::recv(client.fd.get(), chunk.data(), chunk.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (got <= 0) {
      client.state = Client::State::kDone;
      return;
    }
    client.in.append(chunk.data(), static_cast<size_t>(got));
    if (client.in.size() >= kLengthBytes) {
      const size_t length = read_length(client.in);
      const bool too_long = length > limits_.request_bytes_max;
      const bool has_extra = client.in.size() > kLengthBytes + length;
      if (too_long || has_extra || buffered_bytes() > limits_.buffered_bytes_max) {
        log_debug("control: dropped a client of uid " + std::to_string(client.peer.uid) +
                  (too_long
                       ? ": its request is too long"
                       : (has_extra ? ": bytes after its request" : ": too much is buffered")));
        client.state = Client::State::kDone;
        return;
      }
      if (client.in.size() == kLengthBytes + length) {
        answer(client, now);
        return;
      }
    }
  }
  if (now >= client.deadline) client.state = Client::State::kDone;
}

void ControlServer::answer(Client& client, Instant now) {
  const std::string answer =
      handler_(std::string_view(client.in).substr(kLengthBytes), client.peer);
  client.in = std::string();
  client.out = answer.size() <= kAnswerBytesMax
                   ? framed(answer)
                   : framed(R"({"ok":false,"error":"the answer is too long: ask for less"})");
  client.state = Client::State::kSending;
  send(client, now);
}

void ControlServer::send(Client& client, Instant now) {
  while (client.sent < client.out.size()) {
    const ssize_t sent = ::send(client.fd.get(), client.out.data() + client.sent,
                                client.out.size() - client.sent, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (sent < 0) {
      client.state = Client::State::kDone;
      return;
    }
    client.sent += static_cast<size_t>(sent);
    // The handler may have taken long: progress counts from the clock, not from `now`.
    client.deadline = std::max(now, monotonic_now()) + limits_.answer_time;
  }
  if (client.sent == client.out.size()) client.state = Client::State::kDone;
}

}  // namespace np::control
