// SPDX-License-Identifier: Apache-2.0
// SimNetwork: carries out the Actions of one Engine, or of several that share a NodeState, against
// scripted peers, in simulated time and from a seed: short reads and writes, delays, resets,
// refused and swallowed connects, wakes and policies that reach one shard later than another.
// Independent events are ordered by their random delays. Every receive buffer is counted and spoilt
// when it is given back, every send is read only when it finishes, so that misuse of either shows.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "proxy/counters.h"
#include "proxy/engine.h"
#include "proxy/limits.h"
#include "proxy/node_state.h"

namespace np::sim {

struct Weather {
  uint32_t refuse_percent = 0;      // connects refused
  uint32_t swallow_percent = 0;     // connects that never end
  uint32_t small_chunks = 0;        // percent of reads and writes cut to a few bytes
  uint32_t slow_reader = 0;         // percent of wires that take bytes slowly
  uint32_t reset_per_mille = 0;     // chance of a reset at any delivery
  uint32_t late_timer_percent = 0;  // deadlines served late
  Duration delay_max = std::chrono::milliseconds(2);
};

class SimNetwork;
struct Wire;

// One end of a wire. Callbacks run as events of their own.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void on_open() {}
  virtual void on_bytes(std::string_view bytes) = 0;
  virtual void on_finished() = 0;  // FIN from the engine
  virtual void on_reset() = 0;     // RST from the engine, or the wire was cut
  Wire* wire = nullptr;
};

struct Wire {
  proxy::ConnectionId id;
  uint32_t shard = 0;  // whose connection it is
  Peer* peer = nullptr;
  bool upstream = false;
  bool slow = false;
  bool open = false;
  bool receiving = false;
  bool delivering = false;     // an event for the next bytes is on its way
  bool engine_closed = false;  // kClose seen
  bool cut = false;            // reset, by either side
  bool finish_queued = false;  // the peer sent FIN
  bool finish_told = false;
  bool peer_told_end = false;
  std::string to_engine;
  const iovec* iov = nullptr;
  uint32_t iov_count = 0;
};

// What of a NodeState would outlive a worker.
class SimStore : public proxy::EjectionStore {
 public:
  void put(uint32_t service_id, const SocketAddress& endpoint, const Record& record) override {
    records[{service_id, endpoint}] = record;
  }
  void erase(uint32_t service_id, const SocketAddress& endpoint) override {
    records.erase({service_id, endpoint});
  }
  std::map<std::pair<uint32_t, SocketAddress>, Record> records;
};

class SimNetwork : public BufferOwner, public proxy::WakeSink {
 public:
  static constexpr size_t kLimitSlots = 8;

  SimNetwork(uint64_t seed, uint32_t shards, const Weather& weather,
             const proxy::EngineLimits& limits);
  ~SimNetwork() override;

  // What answers at an address.
  void serve(const SocketAddress& address, std::function<Peer*()> factory);
  void connect(Peer& peer, const proxy::Accepted& accepted);

  // ---- for peers ----
  void send(Peer& peer, std::string_view bytes);
  void finish(Peer& peer);
  void reset(Peer& peer);
  void later(Duration after, std::function<void()> what);
  Rng& rng() { return rng_; }
  Instant now() const { return now_; }

  // The first reaches all shards at once, later ones each in its own time.
  void set_snapshot(const std::shared_ptr<const policy::Snapshot>& snapshot);
  void drain();
  // Runs until nothing is left to happen, or `limit` is reached. False: limit reached.
  bool run(Duration limit);
  // Looks at the world after every step.
  void watch(std::function<void()> watcher) { watcher_ = std::move(watcher); }

  uint32_t shards() const { return static_cast<uint32_t>(engines_.size()); }
  proxy::NodeState& node() { return *node_; }
  const SimStore& store() const { return store_; }
  const std::vector<LimitSlot>& limit_slots() const { return slots_; }
  // Of all engines together.
  proxy::EngineCounters counters() const;
  size_t open_downstream() const;
  size_t open_upstream() const;
  Instant next_deadline() const;
  size_t buffers_out() const { return buffers_out_; }
  size_t wires_open() const;
  uint64_t loans() const { return loans_; }
  void recycle(Buffer* buffer) override;
  void wake(uint32_t shard) override;

 private:
  struct Event {
    Instant at;
    uint64_t order;
    std::function<void()> what;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  void act(uint32_t shard);
  void carry_out(uint32_t shard, proxy::Action& action);
  void adopt(uint32_t shard);
  void tell(const Wire& wire, proxy::TransportEvent event);
  void settle();
  void serve_deadline(Instant deadline);
  void connect_upstream(Wire& wire, const proxy::ConnectTarget& target);
  void ask_lender(Wire& wire, const proxy::ConnectTarget& target);
  void dial_instead(Wire& wire, proxy::ConnectTarget target);
  void hand_over(Wire& kept, Wire* taker, const proxy::ConnectTarget& target);
  void deliver_soon(Wire& wire);
  void deliver(Wire& wire);
  void deliver_piece(Wire& wire, bool has_more);
  void send_soon(Wire& wire);
  void complete_send(Wire& wire);
  void close(Wire& wire, proxy::Action& action);
  void cut(Wire& wire);
  void tell_end(Wire& wire, bool reset);
  Duration random_delay(Duration most);
  Duration some_delay(const Wire& wire);
  size_t some_size(size_t available);
  BufferRef fill(std::string_view bytes);

  struct Shard {
    std::unique_ptr<proxy::EngineCounters> counters;
    std::unique_ptr<proxy::Engine> engine;
    std::unordered_map<uint64_t, Wire*> by_id;
    std::shared_ptr<const policy::Snapshot> next_snapshot;  // on its way
    bool is_unsettled = false;                              // the engine was told that more follows
  };

  Rng rng_;
  Weather weather_;
  Instant now_{std::chrono::seconds(100)};
  uint64_t order_ = 0;
  SimStore store_;
  std::vector<LimitSlot> slots_;
  std::unique_ptr<proxy::NodeState> node_;
  std::vector<Shard> engines_;
  bool has_snapshot_ = false;
  std::function<void()> watcher_;
  proxy::ActionList actions_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<std::unique_ptr<Wire>> wires_;
  std::map<SocketAddress, std::function<Peer*()>> services_;
  size_t buffers_out_ = 0;
  uint64_t loans_ = 0;
};

}  // namespace np::sim
