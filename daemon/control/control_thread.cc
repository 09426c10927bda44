// SPDX-License-Identifier: Apache-2.0
#include "control/control_thread.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/time.h"
#include "control/endpoint_view.h"

namespace np::control {
namespace {

constexpr Duration kWaitMax = std::chrono::seconds(30);

int milliseconds_until(Instant deadline, Instant now) {
  if (deadline <= now) return 0;
  const Duration wait = std::min(deadline == kNever ? kWaitMax : deadline - now, kWaitMax);
  // Rounded up: waking before the deadline would spin.
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wait).count());
}

}  // namespace

ControlThread::ControlThread(ControlOptions options, const Seams& seams)
    : options_(std::move(options)), seams_(seams) {}

ControlThread::~ControlThread() = default;

Result<void> ControlThread::start() {
  if (!options_.state_dir.empty()) {
    NP_TRY_ASSIGN(StateFile state, StateFile::open(options_.state_dir));
    state_ = std::make_unique<StateFile>(std::move(state));
  }
  NP_TRY_ASSIGN(resolver_, Resolver::create(options_.resolver));
  controller_ = std::make_unique<Controller>(seams_, state_.get());
  NP_TRY(controller_->start());
  verbs_ = std::make_unique<Verbs>(*controller_, seams_, options_.info);
  follow_names();
  Fd listener = std::move(options_.listener);
  if (!listener.is_open()) {
    NP_TRY_ASSIGN(listener, open_control_socket(options_.run_dir, options_.group));
  }
  server_ = std::make_unique<ControlServer>(
      std::move(listener), options_.group,
      [this](std::string_view request, const Peer& peer) {
        std::string answer = verbs_->handle(request, peer);
        follow_names();
        return answer;
      },
      options_.limits);
  return ok();
}

void ControlThread::follow_names() {
  const policy::Snapshot& snapshot = controller_->snapshot();
  if (snapshot.generation == named_generation_) return;
  named_generation_ = snapshot.generation;
  resolver_->set_names(snapshot.dns_names, monotonic_now());
}

Result<void> ControlThread::run(int stop_fd) {
  NP_CHECK(server_ != nullptr);
  for (bool stopped = false; !stopped;) {
    const Instant now = monotonic_now();
    Instant deadline = std::min(server_->next_deadline(), resolver_->next_deadline(now));
    if (seams_.watch != nullptr) deadline = std::min(deadline, seams_.watch->next_deadline());
    step(milliseconds_until(deadline, now), stop_fd, stopped);
  }
  return ok();
}

void ControlThread::step(int timeout_milliseconds, int stop_fd, bool& stopped) {
  std::vector<pollfd> polls = {{stop_fd, POLLIN, 0}};
  server_->append_polls(polls);
  const size_t server_end = polls.size();
  resolver_->append_polls(polls);
  const size_t resolver_end = polls.size();
  if (seams_.watch != nullptr) polls.push_back({seams_.watch->fd(), POLLIN, 0});
  if (::poll(polls.data(), polls.size(), timeout_milliseconds) < 0) {
    if (errno != EINTR) log_error(system_error(errno, "wait on the control thread").to_string());
    return;
  }
  stopped = polls[0].revents != 0;
  const std::span<const pollfd> all(polls);
  const Instant now = monotonic_now();
  resolver_->on_poll(all.subspan(server_end, resolver_end - server_end), now);
  if (resolver_->take_changed()) {
    auto result = controller_->set_dns(resolver_->answers());
    if (!result) log_error("dns: new addresses not in effect: " + result.error().to_string());
    follow_names();
  }
  server_->on_poll(all.subspan(1, server_end - 1), now);
  if (seams_.watch == nullptr) return;
  if (polls[resolver_end].revents != 0 || seams_.watch->next_deadline() <= now) log_notes();
}

void ControlThread::log_notes() {
  for (const EndpointNote& note : seams_.watch->take_notes()) {
    if (note.service_id == 0) {
      log_info(note.text);
      continue;
    }
    log_warn("ejection: " + service_text(controller_->snapshot(), note.service_id) + ": " +
             note.text);
  }
}

}  // namespace np::control
