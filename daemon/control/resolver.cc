// SPDX-License-Identifier: Apache-2.0
#include "control/resolver.h"

#include <ares.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/log.h"

namespace np::control {
namespace {

constexpr int kQueryTimeoutMilliseconds = 2000;
constexpr int kQueryTries = 2;

struct NameState {
  std::vector<IpAddress> addresses;  // last good answer, sorted
  Instant due{};
  bool is_asked = false;
  bool is_failing = false;
};

Error ares_error(const char* what, int status) {
  return Error{ErrorCode::kSystem, what, ares_strerror(status), ""};
}

// IPv4 addresses when there are any: a node without IPv6 must not try the others.
std::vector<IpAddress> addresses_of(const ares_addrinfo& answer, Duration& time_to_live) {
  std::vector<IpAddress> v4;
  std::vector<IpAddress> v6;
  for (const ares_addrinfo_node* node = answer.nodes; node != nullptr; node = node->ai_next) {
    if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
    const IpAddress ip = SocketAddress::from_sockaddr(node->ai_addr).ip;
    (ip.is_v4() ? v4 : v6).push_back(ip);
    time_to_live = std::min<Duration>(time_to_live, std::chrono::seconds(node->ai_ttl));
  }
  std::vector<IpAddress>& chosen = v4.empty() ? v6 : v4;
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return std::move(chosen);
}

}  // namespace

struct Resolver::State {
  ResolverOptions options;
  ares_channel channel = nullptr;
  std::map<std::string, NameState> names;
  bool changed = false;
  Instant now{};  // of the step that c-ares calls back in
  bool stopping = false;

  struct Query {
    State* state;
    std::string name;
  };

  void ask(const std::string& name);
  void on_answer(const std::string& name, int status, const ares_addrinfo* answer);
  static void on_ares(void* argument, int status, int timeouts, ares_addrinfo* answer);
};

void Resolver::State::ask(const std::string& name) {
  names[name].is_asked = true;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_flags = ARES_AI_NOSORT;
  // Freed by on_ares(), which c-ares calls exactly once per query, also when the channel goes.
  auto* query = new Query{this, name};
  ares_getaddrinfo(channel, name.c_str(), nullptr, &hints, on_ares, query);
}

void Resolver::State::on_ares(void* argument, int status, int, ares_addrinfo* answer) {
  const std::unique_ptr<Query> query(static_cast<Query*>(argument));
  if (!query->state->stopping) query->state->on_answer(query->name, status, answer);
  if (answer != nullptr) ares_freeaddrinfo(answer);
}

void Resolver::State::on_answer(const std::string& name, int status, const ares_addrinfo* answer) {
  const auto at = names.find(name);
  if (at == names.end()) return;  // no policy asks for it any more
  NameState& entry = at->second;
  entry.is_asked = false;
  Duration time_to_live = options.refresh_max;
  std::vector<IpAddress> addresses;
  if (status == ARES_SUCCESS && answer != nullptr) addresses = addresses_of(*answer, time_to_live);
  if (addresses.empty()) {
    if (!entry.is_failing) log_warn("dns: " + name + ": " + ares_strerror(status));
    entry.is_failing = true;
    entry.due = now + options.retry;
    return;
  }
  if (entry.is_failing) log_info("dns: " + name + " answers again");
  entry.is_failing = false;
  entry.due = now + std::clamp(time_to_live, options.refresh_min, options.refresh_max);
  if (entry.addresses == addresses) return;
  entry.addresses = std::move(addresses);
  changed = true;
}

Result<std::unique_ptr<Resolver>> Resolver::create(const ResolverOptions& options) {
  int status = ares_library_init(ARES_LIB_INIT_ALL);
  if (status != ARES_SUCCESS) return ares_error("start the DNS resolver", status);
  auto state = std::make_unique<State>();
  state->options = options;
  ares_options settings{};
  settings.timeout = kQueryTimeoutMilliseconds;
  settings.tries = kQueryTries;
  status = ares_init_options(&state->channel, &settings, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  if (status != ARES_SUCCESS) {
    ares_library_cleanup();
    return ares_error("start the DNS resolver", status);
  }
  std::unique_ptr<Resolver> resolver(new Resolver(std::move(state)));
  if (options.servers.empty()) return resolver;
  status = ares_set_servers_ports_csv(resolver->state_->channel, options.servers.c_str());
  if (status != ARES_SUCCESS) return ares_error("use the DNS servers given", status);
  return resolver;
}

Resolver::Resolver(std::unique_ptr<State> state) : state_(std::move(state)) {}

Resolver::~Resolver() {
  state_->stopping = true;
  ares_destroy(state_->channel);
  ares_library_cleanup();
}

void Resolver::set_names(const std::vector<std::string>& names, Instant now) {
  std::map<std::string, NameState> kept;
  for (const std::string& name : names) {
    const auto known = state_->names.find(name);
    NameState& entry = kept[name];
    if (known == state_->names.end()) {
      entry.due = now;
    } else {
      entry = std::move(known->second);
    }
  }
  state_->names = std::move(kept);
}

bool Resolver::take_changed() {
  return std::exchange(state_->changed, false);
}

policy::DnsAnswers Resolver::answers() const {
  policy::DnsAnswers answers;
  for (const auto& [name, entry] : state_->names) {
    if (!entry.addresses.empty()) answers.emplace(name, entry.addresses);
  }
  return answers;
}

void Resolver::append_polls(std::vector<pollfd>& polls) const {
  std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets{};
  const auto bits = static_cast<unsigned>(
      ares_getsock(state_->channel, sockets.data(), static_cast<int>(sockets.size())));
  for (unsigned i = 0; i < sockets.size(); ++i) {
    short events = 0;
    if (ARES_GETSOCK_READABLE(bits, i)) events |= POLLIN;
    if (ARES_GETSOCK_WRITABLE(bits, i)) events |= POLLOUT;
    if (events != 0) polls.push_back({sockets[i], events, 0});
  }
}

Instant Resolver::next_deadline(Instant now) const {
  Instant next = kNever;
  for (const auto& [name, entry] : state_->names) {
    if (!entry.is_asked) next = std::min(next, entry.due);
  }
  timeval wait{};
  if (ares_timeout(state_->channel, nullptr, &wait) != nullptr) {
    const Duration length =
        std::chrono::seconds(wait.tv_sec) + std::chrono::microseconds(wait.tv_usec);
    next = std::min(next, now + length);
  }
  return next;
}

void Resolver::on_poll(std::span<const pollfd> polled, Instant now) {
  state_->now = now;
  for (const pollfd& entry : polled) {
    const bool readable = (entry.revents & (POLLIN | POLLERR | POLLHUP)) != 0;
    const bool writable = (entry.revents & (POLLOUT | POLLERR)) != 0;
    if (!readable && !writable) continue;
    ares_process_fd(state_->channel, readable ? entry.fd : ARES_SOCKET_BAD,
                    writable ? entry.fd : ARES_SOCKET_BAD);
  }
  ares_process_fd(state_->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // its own time-outs
  std::vector<std::string> due;
  for (const auto& [name, entry] : state_->names) {
    if (!entry.is_asked && entry.due <= now) due.push_back(name);
  }
  for (const std::string& name : due) state_->ask(name);
}

}  // namespace np::control
