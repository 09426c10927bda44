// SPDX-License-Identifier: Apache-2.0
// EngineRig: one Engine with hands. A test plays clients and endpoints step by step: it tells what
// arrived and reads what the engine sent. Sends finish at once unless held.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/counters.h"
#include "proxy/engine.h"
#include "proxy/limits.h"
#include "tests/support/policy_fixture.h"

namespace np::test {

class EngineRig {
 public:
  struct Socket {
    proxy::ConnectionId id;
    proxy::ConnectTarget target;  // upstream only
    bool upstream = false;
    bool opened = false;
    bool receiving = false;
    bool fin = false;        // the engine sent FIN
    bool closed = false;     // kClose given
    bool aborted = false;    // and it was abortive
    bool hold = false;       // sends do not finish until release()
    bool told_late = false;  // nothing waits for the end of the latest send
    std::string output;      // everything the engine sent
    const iovec* iov = nullptr;
    uint32_t iov_count = 0;
    std::shared_ptr<void> kept;
  };

  // `windows`: shared with other rigs, as shards share them.
  explicit EngineRig(proxy::EngineLimits limits = {}, proxy::QuotaWindows* windows = nullptr)
      : EngineRig(nullptr, 0, limits, windows) {}
  // One of several engines that share `node`.
  EngineRig(proxy::NodeState* node, uint32_t shard, proxy::EngineLimits limits = {},
            proxy::QuotaWindows* windows = nullptr);
  // The same, and it asks the others for connections that they keep.
  struct Borrows {};
  EngineRig(Borrows, proxy::NodeState* node, uint32_t shard, proxy::EngineLimits limits = {});
  // One whose requests are told to `observer`.
  EngineRig(RequestObserver& observer, const TraceOptions& tracing);

  void use(const PolicyFixture& policy);
  // Index of the new client connection.
  Socket& connect_captured(const std::string& dialled, const std::string& peer = "10.0.0.9:40000");
  Socket& connect_gateway(const std::string& bind, const std::string& peer = "192.0.2.7:5000");
  Socket& connect(const proxy::Accepted& accepted);
  // As for a move to another shard: then to be given to that one's connect().
  bool forget(Socket& socket, proxy::Accepted* accepted);

  void send(Socket& socket, std::string_view bytes);
  // As from a shard's receive buffer, of so many bytes if those are more: the engine may keep it.
  void send_owned(Socket& socket, std::string_view bytes, size_t buffer_bytes = 0);
  // As send(), and the driver has more for the engine at hand.
  void send_followed(Socket& socket, std::string_view bytes);
  void finish(Socket& socket);
  void finish_followed(Socket& socket);
  void fail(Socket& socket, proxy::Failure failure = proxy::Failure::kReset);
  void open(Socket& socket);  // upstream connect succeeded
  // What another rig gave up, or nothing, for a socket that asked for it.
  void lend(Socket& socket, const proxy::Lent* lent);
  // The socket that goes to whoever wants one like `wanted`; null: none to spare.
  Socket* to_lend(const proxy::ConnectTarget& wanted);
  bool give_up(Socket& socket, proxy::Lent* lent);
  void release(Socket& socket);  // held send finishes
  void advance(Duration by);     // runs every deadline on the way, at its exact time
  void drain();
  // A look at the memory found it.
  void relieve(MemoryStage stage, size_t excess_bytes = 0);
  void wake();                // the WakeSink was told to
  void move_to(Instant now);  // the clock of another rig

  // Upstream sockets in order of kConnect.
  std::vector<Socket*> upstreams();
  Socket& upstream(size_t index) { return *upstreams().at(index); }
  // What was sent since the last call.
  std::string take(Socket& socket);
  proxy::EngineCounters& counters() { return *counters_; }
  proxy::Engine& engine() { return *engine_; }
  Instant now() const { return now_; }

  // started = completed + refused + aborted.
  bool is_balanced() const;
  FlowRecord record{};  // of captured connections

 private:
  explicit EngineRig(proxy::EngineConfig config);
  class HeapBuffers : public BufferOwner {
   public:
    Slice fill(std::string_view bytes, size_t buffer_bytes = 0);
    void recycle(Buffer* buffer) override;
  };
  void act();
  void complete_send(Socket& socket);

  HeapBuffers buffers_;
  std::unique_ptr<proxy::EngineCounters> counters_;
  std::unique_ptr<proxy::Engine> engine_;
  proxy::ActionList actions_;
  std::vector<std::unique_ptr<Socket>> sockets_;
  std::map<uint64_t, Socket*> by_id_;
  Instant now_{std::chrono::seconds(1000)};
};

}  // namespace np::test
