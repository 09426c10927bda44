// SPDX-License-Identifier: Apache-2.0
// SimNetwork: carries out an Engine's Actions against scripted peers, in simulated time and from a
// seed: short reads and writes, delays, resets, refused and swallowed connects. Independent events
// are ordered by their random delays. Every receive buffer is counted and spoilt when it is given
// back, every send is read only when it finishes, so that misuse of either shows.
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

class SimNetwork : public BufferOwner {
 public:
  SimNetwork(uint64_t seed, const Weather& weather, const proxy::EngineLimits& limits);
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

  void set_snapshot(std::shared_ptr<const policy::Snapshot> snapshot);
  void drain();
  // Runs until nothing is left to happen, or `limit` is reached. False: limit reached.
  bool run(Duration limit);

  proxy::Engine& engine() { return *engine_; }
  proxy::EngineCounters& counters() { return *counters_; }
  size_t buffers_out() const { return buffers_out_; }
  size_t wires_open() const;
  void recycle(Buffer* buffer) override;
  uint64_t steps() const { return steps_; }

 private:
  struct Event {
    Instant at;
    uint64_t order;
    std::function<void()> what;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  void act();
  void carry_out(proxy::Action& action);
  void connect_upstream(Wire& wire, const proxy::ConnectTarget& target);
  void deliver_soon(Wire& wire);
  void deliver(Wire& wire);
  void send_soon(Wire& wire);
  void complete_send(Wire& wire);
  void close(Wire& wire, proxy::Action& action);
  void cut(Wire& wire);
  void tell_end(Wire& wire, bool reset);
  Duration some_delay(const Wire& wire);
  size_t some_size(size_t available);
  BufferRef fill(std::string_view bytes);

  Rng rng_;
  Weather weather_;
  Instant now_{std::chrono::seconds(100)};
  uint64_t order_ = 0;
  uint64_t steps_ = 0;
  std::unique_ptr<proxy::EngineCounters> counters_;
  std::unique_ptr<proxy::Engine> engine_;
  proxy::ActionList actions_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<std::unique_ptr<Wire>> wires_;
  std::unordered_map<uint64_t, Wire*> by_id_;
  std::map<SocketAddress, std::function<Peer*()>> services_;
  size_t buffers_out_ = 0;
};

}  // namespace np::sim
