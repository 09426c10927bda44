// SPDX-License-Identifier: Apache-2.0
// The link's messages: the hand-over and the requests.
#include "kernel/worker_link.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <thread>

#include "base/time.h"
#include "kernel/worker_link_impl.h"

namespace np::kernel {

namespace {

constexpr Duration kHandOverPatience = std::chrono::seconds(10);
constexpr Duration kAnswerPatience = std::chrono::seconds(10);
constexpr Duration kDetachPatience = std::chrono::seconds(5);
constexpr Duration kDetachPoll = std::chrono::milliseconds(100);

Error broken(const std::string& what) {
  return Error{ErrorCode::kSystem, "talk to the supervisor", what, ""};
}

control::PodState pod_state(const link::PodState& wire) {
  control::PodState state;
  state.pod_id = wire.pod_id;
  state.ifname = link::get_text(wire.ifname);
  state.ifindex = wire.ifindex;
  state.hook = link::get_text(wire.hook);
  state.captured_since_unix_ns = wire.since_ns;
  state.problem = link::get_text(wire.problem);
  return state;
}

// The pod's id, then control::to_line().
std::optional<control::Check> parse_node_check(std::string_view line) {
  const size_t tab = line.find(control::kCheckSeparator);
  if (tab == std::string_view::npos) return std::nullopt;
  std::optional<control::Check> check = control::parse_check(line.substr(tab + 1));
  if (check) std::from_chars(line.data(), line.data() + tab, check->pod_id);
  return check;
}

}  // namespace

WorkerLink::Impl::Impl(Fd socket) : channel(std::move(socket)) {}
WorkerLink::Impl::~Impl() = default;

Result<void> WorkerLink::Impl::take_fd(const link::HandFd& hand, Fd fd) {
  if (!fd.is_open()) return broken("an fd is missing in the hand-over");
  switch (hand.role) {
    case link::FdRole::kMap:
      if (hand.index >= maps.size()) return broken("an unknown map came");
      maps[hand.index] = std::move(fd);
      return ok();
    case link::FdRole::kCaptureListener:
      capture_listeners.push_back(CaptureListener{fd.get(), hand.index, hand.is_v6 != 0});
      listener_fds.push_back(std::move(fd));
      return ok();
    case link::FdRole::kGatewayListener:
      gateways.push_back(OwnedGateway{std::move(fd), link::from_wire(hand.address)});
      return ok();
    case link::FdRole::kProxyNetns:
      proxy_netns = std::move(fd);
      return ok();
    case link::FdRole::kControlSocket:
      control_socket = std::move(fd);
      return ok();
    case link::FdRole::kSeries:
      series_fd = std::move(fd);
      return ok();
    case link::FdRole::kLife:
      life_fd = std::move(fd);
      return ok();
  }
  return broken("an fd of an unknown role came");
}

Result<void> WorkerLink::Impl::take(LinkMessage message) {
  if (message.kind == link::Kind::kHandFd) {
    const auto hand = message.as<link::HandFd>();
    if (!hand) return broken("a malformed hand-over");
    return take_fd(*hand, std::move(message.fd));
  }
  if (message.kind == link::Kind::kHandText) {
    const auto line = message.as<link::HandText>();
    if (line) probe.push_back(link::get_text(line->text));
    return ok();
  }
  const auto greeting = message.as<link::Hello>();
  if (message.kind != link::Kind::kHello || !greeting) return broken("an unexpected message came");
  hello = *greeting;
  has_capture = (hello.flags & link::kHasCapture) != 0;
  return ok();
}

Result<void> WorkerLink::Impl::receive_hand_over() {
  for (;;) {
    NP_TRY_ASSIGN(LinkMessage message, channel.receive(kHandOverPatience));
    if (message.kind == link::Kind::kHandDone) return map_memory();
    NP_TRY(take(std::move(message)));
  }
}

Result<void> WorkerLink::Impl::map_memory() {
  const size_t records = size_t{hello.flow_records} * sizeof(FlowRecord);
  const size_t blocks = size_t{hello.counter_blocks} * NP_COUNTER_BLOCK_BYTES;
  NP_TRY_ASSIGN(flow_records, MappedRegion::map(map(Map::kConn), records));
  NP_TRY_ASSIGN(counters, MappedRegion::map(map(Map::kCounters), blocks));
  if (series_fd.is_open()) {
    const size_t bytes = size_t{hello.counter_blocks} * hello.series_bytes;
    NP_TRY_ASSIGN(series, MappedRegion::map(series_fd.get(), bytes));
  }
  if (life_fd.is_open()) {
    NP_TRY_ASSIGN(life, MappedRegion::map(life_fd.get(), sizeof(LifePage)));
  }
  if (!has_capture) return ok();
  NP_TRY_ASSIGN(live, MappedRegion::map(map(Map::kLive), sizeof(np_live)));
  NP_TRY_ASSIGN(limits, MappedRegion::map(map(Map::kLimit), sizeof(np_limit) * NP_LIMIT_MAX));
  table = std::make_unique<KernelCaptureTable>(map(Map::kServices), map(Map::kCidr),
                                               map(Map::kServiceStats));
  guard = std::make_unique<Guard>(*this);
  acceleration = std::make_unique<Acceleration>(*this);
  replay = std::make_unique<CaptureReplay>(
      CaptureReplay::Maps{map(Map::kConfig), map(Map::kLive), map(Map::kPods), map(Map::kPodStats),
                          map(Map::kServices), map(Map::kCidr), map(Map::kListeners)});
  return ok();
}

Result<void> WorkerLink::Impl::wait_for_answer(uint32_t id, std::vector<LinkMessage>* extra) {
  const Instant limit = monotonic_now() + kAnswerPatience;
  for (;;) {
    const Duration left = std::max(Duration(0), limit - monotonic_now());
    Result<LinkMessage> received = channel.receive(left);
    if (!received) {
      const bool is_timeout = received.error().code == ErrorCode::kNotFound;
      if (is_timeout && monotonic_now() < limit) continue;  // a signal
      if (is_timeout) return broken("no answer in time");
      return received.error();
    }
    if (received->id != id) continue;  // of a call that gave up waiting
    if (received->kind != link::Kind::kAnswer) {
      if (extra != nullptr) extra->push_back(std::move(*received));
      continue;
    }
    const auto answer = received->as<link::Answer>();
    if (!answer) return broken("a malformed answer");
    if (answer->is_error == 0) return ok();
    return Error{static_cast<ErrorCode>(answer->code), link::get_text(answer->what),
                 link::get_text(answer->detail), link::get_text(answer->hint)};
  }
}

WorkerLink::WorkerLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WorkerLink::~WorkerLink() = default;

Result<std::unique_ptr<WorkerLink>> WorkerLink::from_fd(Fd link) {
  auto impl = std::make_unique<Impl>(std::move(link));
  NP_TRY(impl->receive_hand_over());
  return std::unique_ptr<WorkerLink>(new WorkerLink(std::move(impl)));
}

bool WorkerLink::has_capture() const {
  return impl_->has_capture;
}
uint64_t WorkerLink::epoch() const {
  return impl_->hello.epoch;
}
bool WorkerLink::has_lost_predecessor() const {
  return (impl_->hello.flags & link::kLostPredecessor) != 0;
}
const std::vector<CaptureListener>& WorkerLink::capture_listeners() const {
  return impl_->capture_listeners;
}
std::vector<GatewaySocket> WorkerLink::gateway_listeners() const {
  std::vector<GatewaySocket> sockets;
  for (const auto& owned : impl_->gateways) sockets.push_back({owned.fd.get(), owned.bind});
  return sockets;
}
int WorkerLink::proxy_netns_fd() const {
  return impl_->proxy_netns.get();
}
Fd WorkerLink::take_control_socket() {
  return std::move(impl_->control_socket);
}
const std::vector<std::string>& WorkerLink::probe_report() const {
  return impl_->probe;
}
int WorkerLink::fd() const {
  return impl_->channel.fd();
}
bool WorkerLink::is_supervisor_gone() const {
  pollfd poller{impl_->channel.fd(), 0, 0};
  return ::poll(&poller, 1, 0) == 1 && (poller.revents & (POLLHUP | POLLERR)) != 0;
}

Result<void> WorkerLink::ready() {
  return impl_->call(link::Kind::kReady, uint32_t{0});
}

Result<void> WorkerLink::drain() {
  return impl_->call(link::Kind::kDrain, uint32_t{0});
}

Result<control::PodState> WorkerLink::attach(const control::PodAttachment& pod) {
  link::AttachPod request;
  if (pod.ips.size() > link::kPodAddressesMax || pod.ifname.size() >= sizeof(request.ifname)) {
    return Error{ErrorCode::kInvalid, "attach pod " + pod.name,
                 "at most 8 addresses and an interface name of at most 15 characters", ""};
  }
  request.pod_id = pod.pod_id;
  request.address_count = static_cast<uint32_t>(pod.ips.size());
  for (size_t i = 0; i < pod.ips.size(); ++i) {
    std::memcpy(request.ips[i], pod.ips[i].bytes.data(), sizeof(request.ips[i]));
  }
  link::put_text(request.ifname, pod.ifname);
  link::put_text(request.name, pod.name);
  std::vector<LinkMessage> extra;
  NP_TRY(impl_->call(link::Kind::kAttachPod, request, &extra));
  for (const LinkMessage& message : extra) {
    const auto state = message.as<link::PodState>();
    if (message.kind == link::Kind::kPodState && state) return pod_state(*state);
  }
  return broken("an answer without the pod's state");
}

Result<void> WorkerLink::detach(uint32_t pod_id) {
  link::DetachPod request;
  request.pod_id = pod_id;
  return impl_->call(link::Kind::kDetachPod, request);
}

std::vector<control::PodState> WorkerLink::list() {
  std::vector<LinkMessage> extra;
  std::vector<control::PodState> states;
  if (!impl_->call(link::Kind::kListPods, uint32_t{0}, &extra)) return states;
  for (const LinkMessage& message : extra) {
    const auto state = message.as<link::PodState>();
    if (message.kind == link::Kind::kPodState && state) states.push_back(pod_state(*state));
  }
  return states;
}

Result<std::vector<control::Check>> WorkerLink::inspect() {
  std::vector<LinkMessage> extra;
  NP_TRY(impl_->call(link::Kind::kCheckNode, uint32_t{0}, &extra));
  std::vector<control::Check> checks;
  for (const LinkMessage& message : extra) {
    const auto body = message.as<link::NodeChecks>();
    if (message.kind != link::Kind::kNodeChecks || !body || !message.fd.is_open()) continue;
    std::string text(body->bytes, '\0');
    if (::pread(message.fd.get(), text.data(), text.size(), 0) !=
        static_cast<ssize_t>(text.size())) {
      return broken("the checks cannot be read");
    }
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      if (auto check = parse_node_check(std::string_view(text).substr(begin, end - begin))) {
        checks.push_back(std::move(*check));
      }
      begin = end + 1;
    }
  }
  return checks;
}

Result<void> WorkerLink::set(const std::vector<SocketAddress>& binds) {
  link::SetListeners request;
  if (binds.size() > link::kGatewayListenersMax) {
    return Error{ErrorCode::kExhausted, "open Gateway listeners",
                 std::to_string(binds.size()) + " are asked for, at most 64 are possible", ""};
  }
  request.count = static_cast<uint32_t>(binds.size());
  for (size_t i = 0; i < binds.size(); ++i) request.addresses[i] = link::to_wire(binds[i]);
  std::vector<LinkMessage> extra;
  const uint32_t id = impl_->next_id++;
  NP_TRY(impl_->channel.send(link::Kind::kSetListeners, id, request));
  // On failure some sockets may have come all the same: they listen.
  const Result<void> result = impl_->wait_for_answer(id, &extra);
  std::vector<Impl::OwnedGateway> before = std::move(impl_->gateways);
  impl_->gateways.clear();
  for (LinkMessage& message : extra) {
    const auto hand = message.as<link::HandFd>();
    if (message.kind != link::Kind::kHandFd || !hand || !message.fd.is_open()) continue;
    const SocketAddress bind = link::from_wire(hand->address);
    // Shards know a socket that stays by its old fd.
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&bind](const auto& owned) { return owned.bind == bind; });
    if (same != before.end()) {
      impl_->gateways.push_back(std::move(*same));
      before.erase(same);
    } else {
      impl_->gateways.push_back({std::move(message.fd), bind});
    }
  }
  if (impl_->observer) impl_->observer(gateway_listeners());
  return result;
}

void WorkerLink::set_listener_observer(ListenerObserver observer) {
  impl_->observer = std::move(observer);
}

Result<void> WorkerLink::set_upstream_band(uint16_t low, uint16_t high) {
  link::SetBand request;
  request.low = low;
  request.high = high;
  return impl_->call(link::Kind::kSetBand, request);
}

Result<void> WorkerLink::note_endpoint(const EndpointChange& change) {
  uint32_t* flags = live_flags_word();
  if (flags == nullptr || (std::atomic_ref(*flags).load() & NP_LIVE_EVENTS) == 0) return ok();
  link::NoteEndpoint request;
  request.kind = NP_EVENT_ENDPOINT_FIRST + static_cast<uint32_t>(change.kind);
  request.service_id = change.service_id;
  request.count = change.count;
  request.endpoint = link::to_wire(change.endpoint);
  return impl_->call(link::Kind::kNoteEndpoint, request);
}

Result<void> WorkerLink::detach_all() {
  // New connections go direct from here on; captured ones get some time to end by themselves.
  set_live_flag(LiveFlag::kKillswitch, true);
  const Instant limit = monotonic_now() + kDetachPatience;
  const auto is_flow_open = [this] {
    const std::vector<FlowTotals> pods = pod_totals();
    return std::any_of(pods.begin(), pods.end(),
                       [](const FlowTotals& pod) { return pod.opened > pod.closed; });
  };
  while (is_flow_open() && monotonic_now() < limit) std::this_thread::sleep_for(kDetachPoll);
  const Result<void> result = impl_->call(link::Kind::kDetachAll, uint32_t{0});
  if (!result) set_live_flag(LiveFlag::kKillswitch, false);
  return result;
}

}  // namespace np::kernel
