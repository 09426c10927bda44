// SPDX-License-Identifier: Apache-2.0
#include "shard/shard_pool.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <thread>
#include <utility>

#include "bpf/abi/np_abi.h"
#include "proxy/node_state.h"
#include "proxy/quota_windows.h"
#include "shard/message.h"
#include "shard/peers.h"
#include "shard/pod_sockets.h"
#include "shard/shard.h"

namespace np::shard {
namespace {

static_assert(sizeof(FlowRecord) == sizeof(np_conn));
static_assert(offsetof(FlowRecord, key) == offsetof(np_conn, key));
static_assert(sizeof(FlowKeyBytes) == sizeof(np_flow_key));
static_assert(offsetof(FlowRecord, started) == offsetof(np_conn, started));
static_assert(offsetof(FlowRecord, retries) == offsetof(np_conn, retries));
static_assert(offsetof(FlowRecord, last_ns) == offsetof(np_conn, last_ns));
static_assert(sizeof(LimitSlot) == sizeof(np_limit));
static_assert(offsetof(LimitSlot, rejected) == offsetof(np_limit, rejected));

constexpr uint32_t kWorkersMax = 256;
// Descriptors that are not sockets of the shards: maps, logs, admin connections, accepts on the
// way.
constexpr uint32_t kReservedDescriptors = 256;
constexpr Duration kAckMax = std::chrono::seconds(10);
constexpr Duration kAliveWithin = std::chrono::seconds(1);
constexpr Duration kPollInterval = std::chrono::milliseconds(20);
// How long a drain waits until clients in the accept queues have been taken over.
constexpr Duration kAcceptRestMax = std::chrono::milliseconds(100);
constexpr Duration kAcceptRestPoll = std::chrono::milliseconds(1);

// The soft limit is raised to the hard one, which needs no right.
uint32_t descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit.rlim_cur = limit.rlim_max;
  }
  return static_cast<uint32_t>(std::min<rlim_t>(limit.rlim_cur, uring::UserData::kSlotMax));
}

// Accepted sockets inherit these (R31). The ring wants blocking listeners.
Result<void> prepare_listener(int fd) {
  constexpr linger kReset{1, 0};
  const int on = 1;
  const int flags = ::fcntl(fd, F_GETFL);
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof kReset) != 0 || flags < 0 ||
      ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return system_error(errno, "prepare a listening socket");
  }
  return ok();
}

uint32_t accept_queue_length(int listener) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
  return info.tcpi_unacked;  // of a listening socket this is its queue
}

void pin(std::thread& thread, uint32_t index) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int wanted = static_cast<int>(index) % std::max(CPU_COUNT(&allowed), 1);
  int seen = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || seen++ != wanted) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)::pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
    return;
  }
}

// Shards wake each other by their inboxes' wakers: no message is needed, the mail is elsewhere.
class InboxWakes final : public proxy::WakeSink {
 public:
  InboxWakes(Peers& peers, std::function<void()> on_ejection)
      : peers_(peers), on_ejection_(std::move(on_ejection)) {}
  void wake(uint32_t shard) override { peers_.inboxes[shard]->waker().wake(); }
  void wake_watcher() override {
    if (on_ejection_) on_ejection_();
  }

 private:
  Peers& peers_;
  std::function<void()> on_ejection_;
};

Error invalid(std::string what, std::string detail) {
  return Error{ErrorCode::kInvalid, std::move(what), std::move(detail), ""};
}

}  // namespace

class ShardPool::Impl {
 public:
  explicit Impl(ShardPoolOptions options)
      : options_(std::move(options)),
        peers_(options_.workers, options_.live_flags, options_.pod_use, options_.pod_owners),
        wakes_(peers_, options_.on_ejection),
        node_(options_.workers, {&wakes_, options_.ejection_store, options_.limit_slots}),
        own_counters_(options_.workers) {}
  ~Impl() { stop(); }

  Result<void> open();
  Result<void> start();
  Result<void> publish(std::shared_ptr<const policy::Snapshot> snapshot);
  Result<void> add_listener(const SocketAddress& bind, Fd fd, bool captured);
  Result<void> remove_gateway_listener(const SocketAddress& bind);
  void stop_listening();
  size_t drain(Duration timeout);
  void stop();

  struct OpenListener {
    uint32_t id;
    bool captured;
    SocketAddress bind;
    Fd fd;
  };

  ShardOptions shard_options(uint32_t index, uint32_t descriptors) const;
  Result<void> post(uint32_t shard, ShardMessage message);
  template <typename Make>
  Result<void> post_all(Make make) {
    for (uint32_t i = 0; i < options_.workers; ++i) NP_TRY(post(i, make()));
    return ok();
  }
  const ShardCounters& counters_of(uint32_t shard) const {
    return options_.shard_counters.empty() ? own_counters_[shard] : *options_.shard_counters[shard];
  }

  ShardPoolOptions options_;
  Peers peers_;
  InboxWakes wakes_;
  proxy::NodeState node_;
  std::vector<ShardCounters> own_counters_;
  std::unique_ptr<proxy::QuotaWindows> quota_windows_;
  std::vector<OpenListener> listeners_;
  std::unique_ptr<PodSocketThread> pod_sockets_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::thread> threads_;
  uint32_t next_listener_id_ = 1;
};

ShardOptions ShardPool::Impl::shard_options(uint32_t index, uint32_t descriptors) const {
  const ShardLimits& limits = options_.limits;
  ShardOptions options;
  options.index = index;
  options.seed = options_.seed + index;
  options.loop_token = options_.seed;
  options.sockets_max = std::min(limits.sockets_max, descriptors);
  const uint32_t usable =
      descriptors > 2 * kReservedDescriptors ? descriptors - kReservedDescriptors : descriptors / 2;
  options.sockets_max_as_descriptors = std::min(limits.sockets_max, usable / options_.workers);
  options.ring.submit_entries = limits.submit_entries;
  options.ring.completion_entries = limits.completion_entries;
  options.ring.file_slots = limits.fixed_files ? options.sockets_max : 0;
  options.ring.prefer_defer_taskrun = limits.deferred_completions;
  options.buffers.buffer_bytes = limits.receive_buffer_bytes;
  options.buffers.initial = limits.receive_buffers_initial;
  options.buffers.max = limits.receive_buffers_max;
  options.buffers.window = limits.receive_buffers_window;
  options.close_flush_max = limits.close_flush_max;
  options.balance = limits.balance;
  const size_t share = options_.flow_records.size() / options_.workers;
  options.records = options_.flow_records.subspan(share * index, share);
  options.engine_limits = options_.engine_limits;
  options.node = const_cast<proxy::NodeState*>(&node_);
  options.engine_counters = options_.engine_counters[index];
  options.quota_windows = quota_windows_.get();
  options.counters = const_cast<ShardCounters*>(&counters_of(index));
  if (!options_.observers.empty()) options.observer = options_.observers[index];
  options.tracing = options_.tracing;
  options.pod_sockets = pod_sockets_.get();
  options.heartbeat_ns = index == 0 ? options_.heartbeat_ns : nullptr;
  if (options_.life != nullptr && index < LifePage::kShards) {
    options.progress_ns = &options_.life->shards[index].progress_ns;
  }
  options.memory = options_.memory;
  options.overload_lag = options_.overload_lag;
  return options;
}

Result<void> ShardPool::Impl::open() {
  // Two daemons must not draw alike, and the seed also names this daemon to the loop guard.
  if (options_.seed == 0 && ::getrandom(&options_.seed, sizeof options_.seed, 0) < 0) {
    options_.seed = wall_clock_ns();
  }
  quota_windows_ = std::make_unique<proxy::QuotaWindows>(options_.seed);
  if (options_.proxy_netns_fd >= 0) {
    PodSocketOptions pod_options;
    pod_options.netns_fd = options_.proxy_netns_fd;
    pod_options.port_lo = options_.pod_port_lo;
    pod_options.port_hi = options_.pod_port_hi;
    pod_options.tries = options_.limits.pod_port_tries;
    NP_TRY_ASSIGN(pod_sockets_, PodSocketThread::create(pod_options, peers_));
  }
  peers_.records = options_.flow_records.data();
  peers_.records_of_shard = std::max<size_t>(options_.flow_records.size() / options_.workers, 1);
  const uint32_t descriptors = descriptor_limit();
  for (uint32_t i = 0; i < options_.workers; ++i) {
    NP_TRY_ASSIGN(std::unique_ptr<Shard> shard,
                  Shard::create(shard_options(i, descriptors), peers_));
    peers_.inboxes.push_back(&shard->inbox());
    shards_.push_back(std::move(shard));
  }
  for (Fd& fd : std::exchange(options_.captured_listeners, {})) {
    NP_TRY_ASSIGN(const SocketAddress bind, local_address(fd.get()));
    NP_TRY(add_listener(bind, std::move(fd), true));
  }
  return ok();
}

Result<void> ShardPool::Impl::start() {
  if (!threads_.empty()) return invalid("start the shards", "they run already");
  // Signals are main's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::vector<std::future<Result<void>>> results;
  for (uint32_t i = 0; i < options_.workers; ++i) {
    std::promise<Result<void>> enabled;
    results.push_back(enabled.get_future());
    threads_.emplace_back(&Shard::run, shards_[i].get(), std::move(enabled));
    if (options_.pin_threads) pin(threads_.back(), i);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (std::future<Result<void>>& result : results) NP_TRY(result.get());
  return ok();
}

Result<void> ShardPool::Impl::post(uint32_t shard, ShardMessage message) {
  const Instant give_up = monotonic_now() + kAckMax;
  // NOLINTNEXTLINE(bugprone-use-after-move): it is moved from only when the push succeeds
  while (!peers_.inboxes[shard]->try_push(std::move(message))) {
    if (monotonic_now() > give_up) {
      return Error{ErrorCode::kExhausted, "tell shard " + std::to_string(shard),
                   "its inbox stays full", "it may hang: see `nodectl status`"};
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return ok();
}

Result<void> ShardPool::Impl::publish(std::shared_ptr<const policy::Snapshot> snapshot) {
  if (threads_.empty()) {
    return post_all([&] { return ShardMessage(SetSnapshot{snapshot, nullptr}); });
  }
  auto ack = std::make_shared<Ack>(options_.workers);
  NP_TRY(post_all([&] { return ShardMessage(SetSnapshot{snapshot, ack}); }));
  if (ack->wait_for(kAckMax)) return ok();
  return Error{ErrorCode::kSystem, "publish the policy", "a shard did not take it over within 10 s",
               "see `nodectl status`"};
}

Result<void> ShardPool::Impl::add_listener(const SocketAddress& bind, Fd fd, bool captured) {
  for (const OpenListener& listener : listeners_) {
    if (captured || listener.captured || listener.bind != bind) continue;
    return Error{ErrorCode::kConflict, "add listener " + bind.to_string(), "it is open already",
                 ""};
  }
  NP_TRY(prepare_listener(fd.get()));
  const AddListener message{next_listener_id_++, fd.get(), captured, bind};
  listeners_.push_back({message.id, captured, bind, std::move(fd)});
  return post_all([&] { return ShardMessage(message); });
}

Result<void> ShardPool::Impl::remove_gateway_listener(const SocketAddress& bind) {
  const std::string what = "remove listener " + bind.to_string();
  const auto found =
      std::find_if(listeners_.begin(), listeners_.end(),
                   [&](const OpenListener& one) { return !one.captured && one.bind == bind; });
  if (found == listeners_.end()) {
    return Error{ErrorCode::kNotFound, what, "there is no such listener", ""};
  }
  if (threads_.empty()) return invalid(what, "the shards do not run");
  auto ack = std::make_shared<Ack>(options_.workers);
  NP_TRY(post_all([&] { return ShardMessage(RemoveListener{found->id, ack}); }));
  if (!ack->wait_for(kAckMax)) {
    return Error{ErrorCode::kSystem, what, "a shard did not let go of it within 10 s", ""};
  }
  listeners_.erase(found);
  return ok();
}

// The end of a listening socket resets those whom nobody has accepted yet: the shards take them
// first. shutdown() ends it for the supervisor's copy as well, so that a new client is refused at
// once instead of waiting for a daemon that is going. Captured clients follow their fail mode.
void ShardPool::Impl::stop_listening() {
  const Instant give_up = monotonic_now() + kAcceptRestMax;
  for (const OpenListener& listener : listeners_) {
    while (accept_queue_length(listener.fd.get()) > 0 && monotonic_now() < give_up) {
      std::this_thread::sleep_for(kAcceptRestPoll);
    }
    if (!listener.captured) (void)::shutdown(listener.fd.get(), SHUT_RD);
  }
}

size_t ShardPool::Impl::drain(Duration timeout) {
  if (threads_.empty()) return 0;
  stop_listening();
  const Instant give_up = monotonic_now() + timeout;
  auto ack = std::make_shared<Ack>(options_.workers);
  (void)post_all([&] { return ShardMessage(StartDrain{ack}); });
  (void)ack->wait_for(timeout);
  size_t open = 0;
  do {
    // First a pause: a shard shows how many are open at its next iteration.
    std::this_thread::sleep_for(kPollInterval);
    open = 0;
    // The load as well: a connection may be on its way to a shard.
    for (const ShardStatus& status : peers_.status) {
      open += std::max(status.open.load(), status.load.load());
    }
  } while (open > 0 && monotonic_now() < give_up);
  return open;
}

void ShardPool::Impl::stop() {
  if (!threads_.empty()) (void)post_all([] { return ShardMessage(Stop{}); });
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  pod_sockets_.reset();  // may still answer into an inbox: before the shards
  shards_.clear();
  listeners_.clear();
}

ShardPool::ShardPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ShardPool::~ShardPool() = default;

Result<std::unique_ptr<ShardPool>> ShardPool::create(ShardPoolOptions options) {
  const char* what = "make the shard pool";
  const auto fits = [&](size_t given, bool may_be_empty) {
    return given == options.workers || (may_be_empty && given == 0);
  };
  if (options.workers == 0 || options.workers > kWorkersMax) {
    return invalid(what, "workers is " + std::to_string(options.workers) + ", allowed are 1 to " +
                             std::to_string(kWorkersMax));
  }
  if (!fits(options.engine_counters.size(), false) || !fits(options.shard_counters.size(), true) ||
      !fits(options.observers.size(), true) || !fits(options.pod_use.size(), true)) {
    return invalid(what, "one block of counters per worker is needed");
  }
  auto impl = std::make_unique<Impl>(std::move(options));
  NP_TRY(impl->open());
  return std::unique_ptr<ShardPool>(new ShardPool(std::move(impl)));
}

Result<void> ShardPool::start() {
  return impl_->start();
}

Result<void> ShardPool::publish(std::shared_ptr<const policy::Snapshot> snapshot) {
  return impl_->publish(std::move(snapshot));
}

Result<void> ShardPool::add_gateway_listener(const SocketAddress& bind, Fd listener) {
  return impl_->add_listener(bind, std::move(listener), false);
}

Result<void> ShardPool::remove_gateway_listener(const SocketAddress& bind) {
  return impl_->remove_gateway_listener(bind);
}

std::vector<SocketAddress> ShardPool::gateway_listeners() const {
  std::vector<SocketAddress> binds;
  for (const Impl::OpenListener& listener : impl_->listeners_) {
    if (!listener.captured) binds.push_back(listener.bind);
  }
  return binds;
}

size_t ShardPool::drain(Duration timeout) {
  return impl_->drain(timeout);
}

void ShardPool::stop() {
  impl_->stop();
}

proxy::NodeState& ShardPool::node() {
  return impl_->node_;
}

proxy::QuotaWindows& ShardPool::quota_windows() {
  return *impl_->quota_windows_;
}

uint32_t ShardPool::workers() const {
  return impl_->options_.workers;
}

ShardCounters ShardPool::counters() const {
  ShardCounters sum;
  for (uint32_t i = 0; i < workers(); ++i) {
    const ShardCounters& one = impl_->counters_of(i);
    const uint64_t slowest =
        std::max(sum.slowest_iteration_ns, read_counter(one.slowest_iteration_ns));
#define NP_ADD_COUNTER(name, text) sum.name += read_counter(one.name);
    NP_SHARD_COUNTERS(NP_ADD_COUNTER)
#undef NP_ADD_COUNTER
    sum.slowest_iteration_ns = slowest;
  }
  return sum;
}

PodUse ShardPool::pod_use(uint32_t pod_id) const {
  PodUse sum;
  const uint32_t place = impl_->peers_.places.place_of(pod_id);
  if (place == 0) return sum;
  for (const std::span<PodUse> of_shard : impl_->peers_.pod_use) {
    const PodUse& one = of_shard[place];
#define NP_ADD_USE(name, text) sum.name += read_counter(one.name);
    NP_POD_USE(NP_ADD_USE)
#undef NP_ADD_USE
  }
  return sum;
}

size_t ShardPool::open_connections() const {
  size_t open = 0;
  for (const ShardStatus& status : impl_->peers_.status) open += status.load.load();
  return open;
}

bool ShardPool::is_live() const {
  const uint64_t now_ns = to_ns(monotonic_now());
  const uint64_t oldest_ns = impl_->peers_.oldest_progress_ns();
  const bool moving =
      oldest_ns != 0 && now_ns < oldest_ns + static_cast<uint64_t>(kAliveWithin.count());
  const auto& status = impl_->peers_.status;
  return moving && std::none_of(status.begin(), status.end(), [](const ShardStatus& one) {
           return one.out_of_descriptors.load();
         });
}

bool ShardPool::is_overloaded() const {
  return impl_->peers_.is_any_shedding();
}

uint32_t ShardPool::late_shards() const {
  const auto& status = impl_->peers_.status;
  return static_cast<uint32_t>(std::count_if(
      status.begin(), status.end(), [](const ShardStatus& one) { return one.late.load(); }));
}

std::vector<std::string> ShardPool::probe_report() const {
  if (impl_->shards_.empty()) return {};
  const uring::RingFeatures& features = impl_->shards_.front()->features();
  return {
      features.defer_taskrun
          ? "io_uring: SINGLE_ISSUER and DEFER_TASKRUN found"
          : "io_uring: DEFER_TASKRUN missing (Linux 6.1), COOP_TASKRUN used instead",
      features.socket_options ? "io_uring: socket options through the ring found"
                              : "io_uring: socket options through the ring missing (Linux 6.7)",
      features.fixed_files ? "io_uring: fixed files used for sockets"
                           : "io_uring: plain descriptors used for sockets",
      impl_->pod_sockets_ != nullptr ? "source: pod available"
                                     : "source: pod not available, the node's address is used",
  };
}

}  // namespace np::shard
