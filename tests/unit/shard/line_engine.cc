// SPDX-License-Identifier: Apache-2.0
// An Engine that obeys its client, one command per line, so that tests of the driver can make it do
// each Action at will. It stands in for np_proxy at link time.
//
//   echo TEXT    answers TEXT           shard         answers the shard's seed
//   close        "bye", orderly close in the same step
//   abort        closes with RST        shut          "fin", then FIN
//   big N        sends N bytes          bigclose N    sends N bytes and closes in the same step
//   pause        stops receiving for 50 ms
//   hold         keeps every buffer from now on       release   drops all kept buffers
//   dial ADDR    connects upstream; answers "opened" or "failed K"; then copies both ways
//   dialpod IP ADDR  the same with `source: pod`
//   borrow SHARD ADDR  the same, asking that shard for a connection first; it keeps none
//   slow MS      blocks the shard       snap          answers the snapshot's generation
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "proxy/engine.h"

namespace np::proxy {
namespace {

// Output of one connection: chunks that neither move nor change while they are being sent.
struct Output {
  std::deque<std::string> chunks;
  size_t offset = 0;
  std::vector<iovec> parts;
  bool busy = false;
};

struct Line {
  ConnectionId id;
  bool downstream = false;
  bool open = true;
  std::string input;
  std::shared_ptr<Output> output = std::make_shared<Output>();
  bool hold = false;
  bool fin_wanted = false;
  bool read_done = false;
  uint32_t peer = UINT32_MAX;  // slot of the other side, once dialled
  FlowRecord* record = nullptr;
};

}  // namespace

class Engine::Impl {
 public:
  explicit Impl(const EngineConfig& config) : seed(config.seed) {}

  Line& add(bool downstream) {
    const auto slot = static_cast<uint32_t>(lines.size());
    Line& line = lines[slot];
    line.id = {slot, 7};
    line.downstream = downstream;
    return line;
  }
  Action& act(Line& line, Action::Kind kind, ActionList& out) {
    Action& action = out.emplace_back();
    action.kind = kind;
    action.connection = line.id;
    return action;
  }
  void say(Line& line, std::string text, ActionList& out) {
    line.output->chunks.push_back(std::move(text));
    flush(line, out);
  }
  void flush(Line& line, ActionList& out) {
    Output& output = *line.output;
    if (output.busy || !line.open) return;
    if (output.chunks.empty()) {
      if (std::exchange(line.fin_wanted, false)) act(line, Action::Kind::kShutdownWrite, out);
      return;
    }
    output.parts.clear();
    size_t skip = output.offset;
    for (std::string& chunk : output.chunks) {
      output.parts.push_back({chunk.data() + skip, chunk.size() - skip});
      skip = 0;
    }
    output.busy = true;
    Action& action = act(line, Action::Kind::kSend, out);
    action.iov = output.parts.data();
    action.iov_count = static_cast<uint32_t>(output.parts.size());
  }
  void close(Line& line, bool abortive, ActionList& out) {
    if (!line.open) return;
    Action& action = act(line, Action::Kind::kClose, out);
    action.abortive = abortive;
    action.keep_alive = std::move(line.output);
    line.output = std::make_shared<Output>();
    line.open = false;
    if (line.downstream) --open_downstream;
  }
  void big(Line& line, size_t size, ActionList& out) {
    constexpr size_t kPart = 50'000;
    for (size_t done = 0; done < size; done += kPart) {
      line.output->chunks.emplace_back(std::min(kPart, size - done), 'x');
    }
    flush(line, out);
  }
  void dial(Line& line, const std::string& source, const std::string& address, ActionList& out,
            uint32_t lender = ConnectTarget::kNobody) {
    Line& up = add(false);
    up.peer = line.id.slot;
    line.peer = up.id.slot;
    Action& action = act(up, Action::Kind::kConnect, out);
    action.target.remote = *SocketAddress::parse(address);
    action.target.source_pod = !source.empty();
    if (!source.empty()) action.target.source_ip = *IpAddress::parse(source);
    action.target.keepalive = true;
    action.target.keepalive_probes = 3;
    action.target.lender = lender;
  }
  void command(Line& line, const std::string& text, Instant now, ActionList& out);
  void received(Line& line, const TransportEvent& event, Instant now, ActionList& out);
  void sent(Line& line, size_t bytes, ActionList& out);

  uint64_t seed;
  uint64_t generation = 0;
  size_t open_downstream = 0;
  bool draining = false;
  std::map<uint32_t, Line> lines;
  std::vector<BufferRef> held;
  std::vector<std::pair<Instant, uint32_t>> timers;
};

void Engine::Impl::command(Line& line, const std::string& text, Instant now, ActionList& out) {
  const std::string verb = text.substr(0, text.find(' '));
  const std::string rest = verb.size() < text.size() ? text.substr(verb.size() + 1) : "";
  if (verb == "echo") say(line, rest + "\n", out);
  if (verb == "shard") say(line, std::to_string(seed) + "\n", out);
  if (verb == "snap") say(line, std::to_string(generation) + "\n", out);
  if (verb == "abort") close(line, true, out);
  if (verb == "big") big(line, std::stoul(rest), out);
  if (verb == "hold") line.hold = true;
  if (verb == "release") held.clear();
  if (verb == "dial") dial(line, "", rest, out);
  if (verb == "dialpod") {
    const size_t blank = rest.find(' ');
    dial(line, rest.substr(0, blank), rest.substr(blank + 1), out);
  }
  if (verb == "borrow") {
    const size_t blank = rest.find(' ');
    dial(line, "", rest.substr(blank + 1), out,
         static_cast<uint32_t>(std::stoul(rest.substr(0, blank))));
  }
  if (verb == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(rest)));
  if (verb == "close" || verb == "bigclose") {
    if (verb == "close") say(line, "bye\n", out);
    if (verb == "bigclose") big(line, std::stoul(rest), out);
    close(line, false, out);
  }
  if (verb == "shut") {
    line.fin_wanted = true;
    say(line, "fin\n", out);
  }
  if (verb == "pause") {
    act(line, Action::Kind::kPauseReceive, out);
    timers.emplace_back(now + std::chrono::milliseconds(50), line.id.slot);
  }
}

void Engine::Impl::received(Line& line, const TransportEvent& event, Instant now, ActionList& out) {
  if (line.record != nullptr) line.record->bytes_up += event.data.bytes.size();
  if (line.peer != UINT32_MAX) {
    say(lines.at(line.peer), std::string(event.data.bytes), out);
    return;
  }
  if (line.hold) {
    held.push_back(event.data.owner);
    return;
  }
  line.input += event.data.bytes;
  size_t end = 0;
  while (line.open && (end = line.input.find('\n')) != std::string::npos) {
    const std::string text = line.input.substr(0, end);
    line.input.erase(0, end + 1);
    command(line, text, now, out);
  }
}

void Engine::Impl::sent(Line& line, size_t bytes, ActionList& out) {
  Output& output = *line.output;
  output.busy = false;
  output.offset += bytes;
  while (!output.chunks.empty() && output.offset >= output.chunks.front().size()) {
    output.offset -= output.chunks.front().size();
    output.chunks.pop_front();
  }
  flush(line, out);
}

Engine::Engine(const EngineConfig& config) : impl_(new Impl(config)) {}
Engine::~Engine() = default;

void Engine::set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot, Instant, ActionList&) {
  impl_->generation = snapshot->generation;
}

ConnectionId Engine::accept(const Accepted& accepted, Instant, ActionList& actions) {
  Line& line = impl_->add(true);
  line.record = accepted.record;
  ++impl_->open_downstream;
  if (impl_->draining) {  // handed over by a shard that the drain had not reached yet
    impl_->close(line, false, actions);
  } else {
    impl_->act(line, Action::Kind::kReceive, actions);
  }
  return line.id;
}

void Engine::on_transport(ConnectionId connection, const TransportEvent& event, Instant now,
                          ActionList& actions) {
  const auto found = impl_->lines.find(connection.slot);
  if (found == impl_->lines.end() || !found->second.open) return;
  Line& line = found->second;
  Line* peer = line.peer != UINT32_MAX ? &impl_->lines.at(line.peer) : nullptr;
  switch (event.kind) {
    case TransportEvent::Kind::kOpened:
      impl_->act(line, Action::Kind::kReceive, actions);
      impl_->say(*peer, "opened\n", actions);
      break;
    case TransportEvent::Kind::kNotLent:
      break;
    case TransportEvent::Kind::kReceived:
      impl_->received(line, event, now, actions);
      break;
    case TransportEvent::Kind::kSent:
      impl_->sent(line, event.sent_bytes, actions);
      break;
    case TransportEvent::Kind::kPeerFinished:
      line.read_done = true;
      if (peer != nullptr && peer->open && !peer->read_done) {
        peer->fin_wanted = true;
        impl_->flush(*peer, actions);
      } else {
        impl_->close(line, false, actions);
        if (peer != nullptr) impl_->close(*peer, false, actions);
      }
      break;
    case TransportEvent::Kind::kFailed:
      if (!line.downstream && peer != nullptr) {
        impl_->say(*peer, "failed " + std::to_string(static_cast<int>(event.failure)) + "\n",
                   actions);
        peer->peer = UINT32_MAX;
      }
      impl_->close(line, true, actions);
      break;
  }
}

ClientRest Engine::rest_of(ConnectionId connection) {
  const auto found = impl_->lines.find(connection.slot);
  if (found == impl_->lines.end()) return ClientRest::kNever;
  const Line& line = found->second;
  if (!line.open || !line.downstream || line.peer != UINT32_MAX) return ClientRest::kNever;
  const bool is_at_rest = line.input.empty() && line.output->chunks.empty() && !line.read_done;
  return is_at_rest ? ClientRest::kNow : ClientRest::kNo;
}

bool Engine::forget(ConnectionId connection, Accepted* accepted, Instant, ActionList&) {
  if (rest_of(connection) != ClientRest::kNow) return false;
  Line& line = impl_->lines.at(connection.slot);
  accepted->record = line.record;
  accepted->is_continued = true;
  line.open = false;
  --impl_->open_downstream;
  return true;
}

// It keeps none.
std::optional<ConnectionId> Engine::lend(const ConnectTarget&, Instant, ActionList&) {
  return std::nullopt;
}
bool Engine::give_up(ConnectionId, Lent*, Instant, ActionList&) {
  return false;
}
void Engine::closed_on_the_way(const Lent&) {}
bool Engine::take_hurry() {
  return false;
}

Instant Engine::next_deadline() const {
  Instant next = kNever;
  for (const auto& [at, slot] : impl_->timers) next = std::min(next, at);
  return next;
}

void Engine::on_wake(Instant, ActionList&) {}

void Engine::on_time(Instant now, ActionList& actions) {
  std::erase_if(impl_->timers, [&](const std::pair<Instant, uint32_t>& timer) {
    if (timer.first > now) return false;
    Line& line = impl_->lines.at(timer.second);
    if (line.open) impl_->act(line, Action::Kind::kReceive, actions);
    return true;
  });
}

void Engine::make_room(Instant, ActionList&) {}  // has nothing idle

void Engine::relieve(MemoryStage, size_t, Instant, ActionList&) {}  // holds nothing

void Engine::drain(Instant, ActionList& actions) {
  impl_->draining = true;
  for (auto& [slot, line] : impl_->lines) {
    if (line.downstream && line.peer == UINT32_MAX) impl_->close(line, false, actions);
  }
}

size_t Engine::open_downstream() const {
  return impl_->open_downstream;
}
size_t Engine::open_upstream() const {
  return 0;
}

}  // namespace np::proxy
