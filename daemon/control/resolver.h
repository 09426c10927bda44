// SPDX-License-Identifier: Apache-2.0
// Resolver: addresses of the names that policy refers to, on c-ares. Each name is asked again when
// its records' time to live is over (within bounds); the last good answer is kept while a server
// does not answer. Owns the c-ares channel. Polled by the control thread; no thread of its own.
#pragma once

#include <poll.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "policy/compile.h"

namespace np::control {

struct ResolverOptions {
  std::string servers;  // "10.0.0.2:53,10.0.0.3"; empty: the system's
  Duration refresh_min = std::chrono::seconds(5);
  Duration refresh_max = std::chrono::minutes(5);
  Duration retry = std::chrono::seconds(5);  // after a failure
};

class Resolver {
 public:
  static Result<std::unique_ptr<Resolver>> create(const ResolverOptions& options);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Exactly these names from now on. A new name is asked at the next on_poll().
  void set_names(const std::vector<std::string>& names, Instant now);
  // True once after an answer differed from the one before it.
  bool take_changed();
  policy::DnsAnswers answers() const;

  // As ControlServer: what to wait for, until when, what came of it.
  void append_polls(std::vector<pollfd>& polls) const;
  Instant next_deadline(Instant now) const;
  void on_poll(std::span<const pollfd> polled, Instant now);

 private:
  struct State;
  explicit Resolver(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace np::control
