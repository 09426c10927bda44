// SPDX-License-Identifier: Apache-2.0
#include "kernel/worker_requests.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "kernel/node_checks.h"

namespace np::kernel {

namespace {

constexpr int kPrintableFirst = 0x21;
constexpr int kPrintableLast = 0x7e;

Error broken(const std::string& what) {
  return Error{ErrorCode::kInvalid, "serve the worker", what, ""};
}

// Text that ends in logs and in maps: printable, zero-terminated, without blanks.
template <size_t N>
bool is_clean_text(const char (&field)[N]) {
  const size_t size = ::strnlen(field, N);
  return size < N && std::all_of(field, field + size, [](char c) {
           const int code = static_cast<unsigned char>(c);
           return code >= kPrintableFirst && code <= kPrintableLast;
         });
}

template <size_t N>
bool is_interface_name(const char (&field)[N]) {
  return is_clean_text(field) && std::strchr(field, '/') == nullptr && std::string(field) != "." &&
         std::string(field) != "..";
}

// Text that is too long for a message. Not open: errno says why.
Fd file_of(const char* name, const std::string& text) {
  Fd file(::memfd_create(name, MFD_CLOEXEC));
  const bool is_written = file.is_open() && ::write(file.get(), text.data(), text.size()) ==
                                                static_cast<ssize_t>(text.size());
  return is_written ? std::move(file) : Fd();
}

link::GuardState guard_state(const GuardRecord& record) {
  link::GuardState state;
  state.mode = static_cast<uint32_t>(record.asked);
  state.hook = static_cast<uint32_t>(record.hook);
  state.ifindex = record.ifindex;
  link::put_text(state.ifname, record.ifname);
  link::put_text(state.note, record.note);
  link::put_text(state.problem, record.problem);
  return state;
}

}  // namespace

Result<void> WorkerRequests::hand_over(LinkChannel& channel, uint64_t epoch, bool lost_predecessor,
                                       const std::vector<ProbeRow>& probe) {
  link::Hello hello;
  hello.flags = (state_.capture != nullptr ? link::kHasCapture : 0U) |
                (lost_predecessor ? link::kLostPredecessor : 0U);
  hello.counter_blocks = state_.counter_blocks;
  hello.flow_records = state_.flow_records;
  hello.series_bytes = state_.series_bytes;
  hello.epoch = epoch;
  NP_TRY(channel.send(link::Kind::kHello, 0, hello));
  NP_TRY(hand_maps(channel));
  state_.gateways->listen_again();
  if (state_.control_socket >= 0) {
    link::HandFd hand;
    hand.role = link::FdRole::kControlSocket;
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, state_.control_socket));
  }
  if (state_.series_fd >= 0) {
    link::HandFd hand;
    hand.role = link::FdRole::kSeries;
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, state_.series_fd));
  }
  if (state_.life_fd >= 0) {
    link::HandFd hand;
    hand.role = link::FdRole::kLife;
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, state_.life_fd));
  }
  for (const GatewayListenerSocket& socket : state_.gateways->sockets()) {
    link::HandFd hand;
    hand.role = link::FdRole::kGatewayListener;
    hand.address = link::to_wire(socket.bind);
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, socket.fd.get()));
  }
  for (const ProbeRow& row : probe) {
    link::HandText line;
    link::put_text(line.text, to_text(row));
    NP_TRY(channel.send(link::Kind::kHandText, 0, line));
  }
  return channel.send_empty(link::Kind::kHandDone, 0);
}

Result<void> WorkerRequests::hand_maps(LinkChannel& channel) {
  link::HandFd hand;
  hand.role = link::FdRole::kMap;
  if (state_.capture == nullptr) {
    hand.index = static_cast<uint32_t>(Map::kCounters);
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, state_.counters_fd));
    hand.index = static_cast<uint32_t>(Map::kConn);
    return channel.send(link::Kind::kHandFd, 0, hand, state_.flow_records_fd);
  }
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    const auto map = static_cast<Map>(i);
    const MapAccess access = worker_access(map);
    if (access == MapAccess::kNone) continue;
    hand.index = i;
    Fd read_only;
    if (access == MapAccess::kRead) {
      NP_TRY_ASSIGN(read_only, state_.capture->loader().open_read_only(map));
    }
    const int fd = read_only.is_open() ? read_only.get() : state_.capture->loader().map_fd(map);
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, fd));
  }
  hand.role = link::FdRole::kProxyNetns;
  hand.index = 0;
  NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, state_.capture->proxy().fd()));
  hand.role = link::FdRole::kCaptureListener;
  for (const OwnListener& listener : state_.capture->listeners()) {
    hand.index = listener.slot;
    hand.is_v6 = listener.is_v6 ? 1 : 0;
    NP_TRY(channel.send(link::Kind::kHandFd, 0, hand, listener.fd.get()));
  }
  return ok();
}

Result<void> WorkerRequests::answer(LinkChannel& channel, uint32_t id, const Result<void>& result) {
  link::Answer body;
  if (!result) {
    body.is_error = 1;
    body.code = static_cast<uint32_t>(result.error().code);
    link::put_text(body.what, result.error().what);
    link::put_text(body.detail, result.error().detail);
    link::put_text(body.hint, result.error().hint);
  }
  return channel.send(link::Kind::kAnswer, id, body);
}

Result<void> WorkerRequests::serve(LinkChannel& channel, const LinkMessage& message) {
  if (message.fd.is_open()) return broken("an fd came, none is ever asked for");
  switch (message.kind) {
    case link::Kind::kReady:
      on_ready_();
      return answer(channel, message.id, ok());
    case link::Kind::kAttachPod:
      return attach_pod(channel, message);
    case link::Kind::kDetachPod:
      return detach_pod(channel, message);
    case link::Kind::kListPods:
      return list_pods(channel, message);
    case link::Kind::kSetListeners:
      return set_listeners(channel, message);
    case link::Kind::kSetBand:
      return set_band(channel, message);
    case link::Kind::kNoteEndpoint:
      return note_endpoint(channel, message);
    case link::Kind::kCheckNode:
      return check_node(channel, message);
    case link::Kind::kAttachGuard:
      return attach_guard(channel, message);
    case link::Kind::kDetachGuard:
      return detach_guard(channel, message);
    case link::Kind::kListGuards:
      return list_guards(channel, message);
    case link::Kind::kTestAcceleration:
      return test_acceleration(channel, message);
    case link::Kind::kGetAcceleration:
      return get_acceleration(channel, message);
    case link::Kind::kDetachAll: {
      const Result<void> possible = require_capture();
      return answer(channel, message.id, possible ? state_.capture->detach_all() : possible);
    }
    case link::Kind::kDrain:
      NP_TRY(answer(channel, message.id, ok()));
      on_drain_();
      return ok();
    default:
      return broken("message kind " + std::to_string(static_cast<uint32_t>(message.kind)));
  }
}

Result<void> WorkerRequests::require_capture() const {
  if (state_.capture == nullptr) {
    return Error{ErrorCode::kUnsupported, "capture pods", "the daemon runs with --no-capture", ""};
  }
  if (state_.capture->is_detached()) {
    return Error{ErrorCode::kUnsupported, "capture pods", "`nodectl detach --all` ended capture",
                 "restart nodeproxyd to begin again"};
  }
  return ok();
}

Result<void> WorkerRequests::send_state(LinkChannel& channel, uint32_t id,
                                        const PodRecord& record) {
  link::PodState state;
  state.pod_id = record.request.pod_id;
  state.ifindex = record.ifindex;
  state.since_ns = record.is_attached ? record.since_ns : 0;
  link::put_text(state.ifname, record.request.ifname);
  if (record.is_attached) link::put_text(state.hook, hook_name(state_.capture->pods().hook()));
  link::put_text(state.problem, record.problem);
  return channel.send(link::Kind::kPodState, id, state);
}

Result<void> WorkerRequests::attach_pod(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::AttachPod>();
  if (!body || body->address_count > link::kPodAddressesMax || !is_interface_name(body->ifname) ||
      !is_clean_text(body->name)) {
    return broken("a malformed attach request");
  }
  const Result<void> possible = require_capture();
  if (!possible) return answer(channel, message.id, possible);
  PodRequest request;
  request.pod_id = body->pod_id;
  request.name = link::get_text(body->name);
  request.ifname = link::get_text(body->ifname);
  for (uint32_t i = 0; i < body->address_count; ++i) {
    IpAddress ip;
    std::memcpy(ip.bytes.data(), body->ips[i], sizeof(body->ips[i]));
    request.ips.push_back(ip);
  }
  const Result<PodRecord> record = state_.capture->attach_pod(request);
  if (!record) return answer(channel, message.id, record.error());
  NP_TRY(send_state(channel, message.id, *record));
  return answer(channel, message.id, ok());
}

Result<void> WorkerRequests::detach_pod(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::DetachPod>();
  if (!body) return broken("a malformed detach request");
  const Result<void> possible = require_capture();
  return answer(channel, message.id,
                possible ? state_.capture->pods().detach(body->pod_id) : possible);
}

Result<void> WorkerRequests::list_pods(LinkChannel& channel, const LinkMessage& message) {
  if (state_.capture != nullptr && !state_.capture->is_detached()) {
    for (const PodRecord& record : state_.capture->pods().list()) {
      NP_TRY(send_state(channel, message.id, record));
    }
  }
  return answer(channel, message.id, ok());
}

Result<void> WorkerRequests::attach_guard(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::AttachGuard>();
  if (!body || !is_interface_name(body->ifname) || *body->ifname == '\0' ||
      body->mode > static_cast<uint32_t>(GuardMode::kTc)) {
    return broken("a malformed request to guard an interface");
  }
  const Result<void> possible = require_capture();
  if (!possible) return answer(channel, message.id, possible);
  const Result<GuardRecord> record = state_.capture->attach_guard(
      link::get_text(body->ifname), static_cast<GuardMode>(body->mode), body->is_kept != 0);
  if (!record) return answer(channel, message.id, record.error());
  NP_TRY(channel.send(link::Kind::kGuardState, message.id, guard_state(*record)));
  return answer(channel, message.id, ok());
}

Result<void> WorkerRequests::detach_guard(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::DetachGuard>();
  if (!body || !is_interface_name(body->ifname)) return broken("a malformed request to unguard");
  const Result<void> possible = require_capture();
  return answer(
      channel, message.id,
      possible ? state_.capture->guards().detach(link::get_text(body->ifname)) : possible);
}

Result<void> WorkerRequests::list_guards(LinkChannel& channel, const LinkMessage& message) {
  if (state_.capture != nullptr && !state_.capture->is_detached()) {
    for (const GuardRecord& record : state_.capture->guards().list()) {
      NP_TRY(channel.send(link::Kind::kGuardState, message.id, guard_state(record)));
    }
  }
  return answer(channel, message.id, ok());
}

Result<void> WorkerRequests::set_listeners(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::SetListeners>();
  if (!body || body->count > link::kGatewayListenersMax) return broken("malformed listeners");
  std::vector<SocketAddress> binds;
  for (uint32_t i = 0; i < body->count; ++i) {
    binds.push_back(link::from_wire(body->addresses[i]));
    if (binds.back().port == 0) return broken("a listener without a port");
  }
  const Result<void> result = state_.gateways->set(binds);
  for (const GatewayListenerSocket& socket : state_.gateways->sockets()) {
    link::HandFd hand;
    hand.role = link::FdRole::kGatewayListener;
    hand.address = link::to_wire(socket.bind);
    NP_TRY(channel.send(link::Kind::kHandFd, message.id, hand, socket.fd.get()));
  }
  return answer(channel, message.id, result);
}

Result<void> WorkerRequests::set_band(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::SetBand>();
  if (!body || body->low > body->high) return broken("a malformed port band");
  const Result<void> possible = require_capture();
  return answer(channel, message.id,
                possible ? state_.capture->set_band(body->low, body->high) : possible);
}

Result<void> WorkerRequests::note_endpoint(LinkChannel& channel, const LinkMessage& message) {
  const auto body = message.as<link::NoteEndpoint>();
  if (!body || body->kind < NP_EVENT_ENDPOINT_FIRST || body->kind > NP_EVENT_LAST) {
    return broken("a malformed event of an endpoint");
  }
  const Result<void> possible = require_capture();
  if (!possible) return answer(channel, message.id, possible);
  np_event event{};
  event.kind = body->kind;
  event.svc_id = body->service_id;
  event.count = body->count;
  std::memcpy(event.key.daddr, body->endpoint.ip, sizeof(event.key.daddr));
  event.key.dport = body->endpoint.port;
  const Result<bool> written = state_.capture->loader().note(event);
  return answer(channel, message.id, written ? ok() : Result<void>(written.error()));
}

Result<void> WorkerRequests::check_node(LinkChannel& channel, const LinkMessage& message) {
  const bool has_capture = state_.capture != nullptr && !state_.capture->is_detached();
  const Checks checks =
      has_capture ? np::kernel::check_node(state_.capture->view()) : check_kernel();
  std::string text;
  for (const control::Check& check : checks) {
    text += std::to_string(check.pod_id) + control::kCheckSeparator + to_line(check) + "\n";
  }
  const Fd file = file_of("np_checks", text);
  if (!file.is_open()) {
    return answer(channel, message.id, system_error(errno, "write down the checks"));
  }
  link::NodeChecks body;
  body.bytes = static_cast<uint32_t>(text.size());
  NP_TRY(channel.send(link::Kind::kNodeChecks, message.id, body, file.get()));
  return answer(channel, message.id, ok());
}

// Only captured connections could be accelerated: without capture there is nothing to test.
Result<void> WorkerRequests::test_acceleration(LinkChannel& channel, const LinkMessage& message) {
  const Result<void> possible = require_capture();
  return answer(channel, message.id, possible ? state_.acceleration->start() : possible);
}

Result<void> WorkerRequests::get_acceleration(LinkChannel& channel, const LinkMessage& message) {
  const Result<void> possible = require_capture();
  if (!possible) return answer(channel, message.id, possible);
  const control::AccelerationState& state = state_.acceleration->state();
  link::Acceleration body;
  body.phase = static_cast<uint32_t>(state.phase);
  Fd file;
  if (state.phase == control::AccelerationState::Phase::kDone) {
    const std::string text = to_text(state.report);
    body.bytes = static_cast<uint32_t>(text.size());
    file = file_of("np_acceleration", text);
    if (!file.is_open()) {
      return answer(channel, message.id, system_error(errno, "write down the report"));
    }
  }
  NP_TRY(channel.send(link::Kind::kAcceleration, message.id, body, file.get()));
  return answer(channel, message.id, ok());
}

}  // namespace np::kernel
