// SPDX-License-Identifier: Apache-2.0
// ControlServer: the Unix socket of nodectl (wire.h). Owns the listening socket and its clients;
// speaks one request and one answer per connection. Everything a client sends is hostile: sizes,
// time, number of clients and buffered bytes are bounded. No thread of its own: the control thread
// polls it together with its other sources. Control thread only.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "control/controller.h"
#include "control/wire.h"

namespace np::control {

// Binds RUN_DIR/control.sock with mode 0660 and, where this process may, the group `group`. A stale
// socket is replaced; one that a living daemon answers on is an Error.
Result<Fd> open_control_socket(const std::string& run_dir, const std::string& group);

struct ServerLimits {
  size_t clients_max = 32;
  size_t request_bytes_max = kRequestBytesMax;
  size_t buffered_bytes_max = 4 * kRequestBytesMax;  // of all clients' requests together
  Duration request_time = std::chrono::seconds(10);  // from accept to the last byte
  Duration answer_time = std::chrono::seconds(30);   // without progress
};

class ControlServer {
 public:
  // Returns the answer's JSON. Runs inside on_poll(); it may take as long as a policy change takes.
  using Handler = std::function<std::string(std::string_view request, const Peer& peer)>;

  // `group` names who may write besides root and this process's own user.
  ControlServer(Fd listener, std::string_view group, Handler handler, ServerLimits limits = {});
  ~ControlServer();

  // The loop's three questions: what to wait for, until when, and what came of it. `polled` is what
  // append_polls() appended, in that order.
  void append_polls(std::vector<pollfd>& polls) const;
  Instant next_deadline() const;
  void on_poll(std::span<const pollfd> polled, Instant now);

  size_t client_count() const { return clients_.size(); }

 private:
  struct Client;
  void accept_clients(Instant now);
  void receive(Client& client, Instant now);
  void answer(Client& client, Instant now);
  void send(Client& client, Instant now);
  Peer peer_of(int fd) const;
  size_t buffered_bytes() const;

  Fd listener_;
  Handler handler_;
  ServerLimits limits_;
  bool has_group_ = false;
  uint32_t group_ = 0;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace np::control
