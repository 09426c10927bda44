// SPDX-License-Identifier: Apache-2.0
// The supervisor's loop: one poll over signals, the worker's link and the self-test of
// acceleration, and six deadlines.
#include "kernel/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/fd.h"
#include "base/flow_record.h"
#include "base/life_page.h"
#include "base/log.h"
#include "kernel/capture_side.h"
#include "kernel/mapped_region.h"
#include "kernel/stall_watch.h"
#include "kernel/worker_requests.h"

namespace np::kernel {

namespace {

constexpr Duration kHeartbeatEvery = std::chrono::milliseconds(100);
// Longest time the supervisor answers for a worker that is being restarted (design.md 8.3).
constexpr Duration kRestartGap = std::chrono::seconds(2);
constexpr Duration kBackOffFirst = std::chrono::milliseconds(100);
constexpr Duration kBackOffMax = std::chrono::seconds(5);
constexpr uint32_t kBackOffDoublings = 6;
// A worker that was ready for this long did not die of its start.
constexpr Duration kStableAfter = std::chrono::seconds(5);
// Between SIGABRT and SIGKILL, for a core to be written.
constexpr Duration kAbortGrace = std::chrono::seconds(5);
constexpr Duration kDrainGrace = std::chrono::seconds(5);  // beyond --drain-time, before SIGKILL

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options)
      : options_(options), stall_watch_(options.watchdog) {}

  Result<void> start();
  int run();

 private:
  Result<void> make_memory();
  Result<void> spawn();
  [[noreturn]] void become_worker(int link) const;
  void step();
  int poll_timeout_ms() const;
  void on_signals();
  void on_worker_exit(int status);
  void schedule_restart(bool exited_by_itself);
  void on_link();
  void on_stop();
  void drop_worker(const Error& cause);
  void beat_for_worker();
  void on_ready();
  void watch_worker();
  void abort_worker(const StallWatch::Stall& stall);

  const SupervisorOptions options_;
  std::unique_ptr<CaptureSide> capture_;
  GatewayListeners gateways_;
  AccelerationRun acceleration_;
  Fd counters_, flow_records_, series_, life_fd_, signals_;
  MappedRegion life_;
  StallWatch stall_watch_;
  std::vector<ProbeRow> probe_;
  std::unique_ptr<WorkerRequests> requests_;
  LinkChannel link_{Fd()};

  pid_t worker_ = -1;
  uint64_t epoch_ = 0;
  bool is_worker_ready_ = false;
  bool was_ever_ready_ = false;
  bool lost_predecessor_ = false;
  Instant ready_since_{};
  uint32_t failed_starts_ = 0;
  bool is_stopping_ = false;
  std::optional<int> exit_status_;

  Instant restart_at_ = kNever;
  Instant kill_at_ = kNever;
  Instant sweep_at_ = kNever;
  Instant beat_at_ = kNever;
  Instant watch_at_ = kNever;
  Instant beat_until_{};
};

Result<Fd> make_memfd(const char* name, size_t bytes) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd.is_open() || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return system_error(errno, "make shared memory for counters");
  }
  return fd;
}

Result<void> Supervisor::make_memory() {
  const size_t counters = size_t{options_.counter_blocks} * NP_COUNTER_BLOCK_BYTES;
  NP_TRY_ASSIGN(counters_, make_memfd("np_counters", counters));
  NP_TRY_ASSIGN(flow_records_,
                make_memfd("np_conn", size_t{options_.flow_records} * sizeof(FlowRecord)));
  return ok();
}

Result<void> Supervisor::start() {
  sigset_t handled;
  ::sigemptyset(&handled);
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) ::sigaddset(&handled, number);
  if (::sigprocmask(SIG_BLOCK, &handled, nullptr) != 0) return system_error(errno, "block signals");
  signals_.reset(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.is_open()) return system_error(errno, "open a signalfd");
  SharedState state;
  state.gateways = &gateways_;
  state.acceleration = &acceleration_;
  state.control_socket = options_.control_socket;
  if (options_.capture) {
    NP_TRY_ASSIGN(capture_, CaptureSide::start(options_));
    state.capture = capture_.get();
    state.counter_blocks = NP_COUNTER_BLOCKS;
    state.flow_records = NP_CONN_MAX;
    probe_ = capture_->probe();
    epoch_ = capture_->live().epoch;
    // Cleared on an orderly end: a pid that is still there belongs to a worker that was killed.
    lost_predecessor_ = capture_->live().daemon_pid != 0;
    sweep_at_ = monotonic_now();
  } else {
    NP_TRY(make_memory());
    state.counters_fd = counters_.get();
    state.flow_records_fd = flow_records_.get();
    state.counter_blocks = options_.counter_blocks;
    state.flow_records = options_.flow_records;
    probe_ = probe_process();
  }
  if (options_.series_bytes > 0) {
    const size_t bytes = size_t{state.counter_blocks} * options_.series_bytes;
    NP_TRY_ASSIGN(series_, make_memfd("np_series", bytes));
    state.series_fd = series_.get();
    state.series_bytes = options_.series_bytes;
  }
  NP_TRY_ASSIGN(life_fd_, make_memfd("np_life", sizeof(LifePage)));
  NP_TRY_ASSIGN(life_, MappedRegion::map(life_fd_.get(), sizeof(LifePage)));
  state.life_fd = life_fd_.get();
  for (const ProbeRow& row : probe_) log_info("probe: " + to_text(row));
  requests_ = std::make_unique<WorkerRequests>(
      state, [this] { on_ready(); }, [this] { on_stop(); });
  return spawn();
}

void Supervisor::on_ready() {
  is_worker_ready_ = was_ever_ready_ = true;
  ready_since_ = monotonic_now();
  log_info("worker " + std::to_string(worker_) + " is ready");
  if (options_.watchdog <= Duration(0)) return;
  stall_watch_.begin();
  watch_at_ = ready_since_;
}

void Supervisor::become_worker(int link) const {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::fcntl(link, F_SETFD, 0);  // the only fd that crosses the exec
  std::vector<std::string> arguments = options_.worker_arguments;
  arguments.insert(arguments.begin(), "nodeproxyd");
  arguments.push_back("--worker-link=" + std::to_string(link));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv("/proc/self/exe", argv.data());
  ::_exit(127);
}

Result<void> Supervisor::spawn() {
  restart_at_ = kNever;
  NP_TRY_ASSIGN(auto ends, LinkChannel::make_pair());
  for (LifePage::Shard& shard : life_.as<LifePage>()->shards) write_word(shard.progress_ns, 0);
  const pid_t child = ::fork();
  if (child < 0) return system_error(errno, "start a worker");
  if (child == 0) become_worker(ends.second.get());
  worker_ = child;
  is_worker_ready_ = false;
  link_ = LinkChannel(std::move(ends.first));
  ++epoch_;
  if (capture_) {
    capture_->live().epoch = epoch_;
    capture_->live().daemon_pid = static_cast<uint32_t>(child);
  }
  log_info("worker " + std::to_string(child) + " started");
  return requests_->hand_over(link_, epoch_, lost_predecessor_, probe_);
}

// Written in the worker's place, so that the accept queues fill instead of the fail mode applying.
void Supervisor::beat_for_worker() {
  const Instant now = monotonic_now();
  if (is_worker_ready_ || now >= beat_until_ || !capture_) {
    beat_at_ = kNever;
    return;
  }
  __atomic_store_n(&capture_->live().heartbeat_ns, to_ns(now), __ATOMIC_RELAXED);
  beat_at_ = now + kHeartbeatEvery;
}

void Supervisor::watch_worker() {
  watch_at_ = kNever;
  if (worker_ < 0 || !is_worker_ready_ || is_stopping_) return;
  const Instant now = monotonic_now();
  if (const auto stall = stall_watch_.look(*life_.as<LifePage>(), now)) return abort_worker(*stall);
  watch_at_ = now + stall_watch_.interval();
}

// The heartbeat is as old as the shard's last iteration, and nobody writes it until the worker is
// gone: new connections follow their fail mode meanwhile.
void Supervisor::abort_worker(const StallWatch::Stall& stall) {
  constexpr int64_t kNsPerMs = 1'000'000;
  uint64_t& aborts = life_.as<LifePage>()->watchdog_aborts;
  write_word(aborts, read_word(aborts) + 1);
  log_error("watchdog: shard " + std::to_string(stall.shard) + " of worker " +
            std::to_string(worker_) + " has completed no loop iteration for " +
            std::to_string(stall.length.count() / kNsPerMs) + " ms (--watchdog is " +
            std::to_string(options_.watchdog.count() / kNsPerMs) +
            " ms; its thread: " + describe_shard_thread(worker_, stall.shard) +
            "): the worker is aborted, another will be started");
  ::kill(worker_, SIGABRT);
  ::kill(worker_, SIGCONT);  // one that is stopped would not hear of it
  kill_at_ = monotonic_now() + kAbortGrace;
}

void Supervisor::schedule_restart(bool exited_by_itself) {
  const Instant now = monotonic_now();
  const bool was_stable = is_worker_ready_ && now - ready_since_ >= kStableAfter;
  if (!was_ever_ready_ && exited_by_itself) {
    exit_status_ = 1;  // it has said why: a start-up error, not a crash
    return;
  }
  failed_starts_ = was_stable ? 0 : failed_starts_ + 1;
  Duration delay{};
  // The first death is answered at once; only a worker that keeps dying is held back.
  if (failed_starts_ > 1) {
    delay = std::min(kBackOffMax,
                     kBackOffFirst * (1 << std::min(failed_starts_ - 2, kBackOffDoublings)));
  }
  restart_at_ = now + delay;
  // One gap per working worker: a crash loop must not hide behind our heartbeat.
  if (is_worker_ready_) beat_until_ = now + kRestartGap;
  is_worker_ready_ = false;
  beat_at_ = now;
  beat_for_worker();
}

void Supervisor::on_worker_exit(int status) {
  worker_ = -1;
  if (!is_stopping_) kill_at_ = kNever;
  link_.close();
  const bool by_itself = WIFEXITED(status);
  const bool is_clean = by_itself && WEXITSTATUS(status) == 0;
  const std::string how = by_itself ? "exited with status " + std::to_string(WEXITSTATUS(status))
                                    : std::string("died of ") + ::strsignal(WTERMSIG(status));
  // A worker that was still starting has no handler for SIGTERM yet, and nothing to finish.
  const bool is_ended_early = is_stopping_ && !by_itself && WTERMSIG(status) == SIGTERM;
  if (is_clean || is_stopping_) {
    log_info("worker " + how);
    if (capture_ && is_clean) capture_->live().daemon_pid = 0;
    exit_status_ = is_clean || is_ended_early ? 0 : 1;
    return;
  }
  log_error("worker " + how + "; starting another");
  lost_predecessor_ = true;
  schedule_restart(by_itself);
}

void Supervisor::on_stop() {
  const Instant now = monotonic_now();
  if (is_stopping_) {
    kill_at_ = now;  // asked twice: at once
    return;
  }
  is_stopping_ = true;
  log_info("stopping: new connections are refused or follow their fail mode, open ones get " +
           std::to_string(
               std::chrono::duration_cast<std::chrono::seconds>(options_.drain_time).count()) +
           " s");
  restart_at_ = kNever;
  // Empty slots first: what is in the accept queues is still served, nothing new comes in.
  if (capture_) capture_->stop_capturing();
  if (worker_ < 0) {
    exit_status_ = 0;
    return;
  }
  ::kill(worker_, SIGTERM);
  kill_at_ = now + options_.drain_time + kDrainGrace;
}

void Supervisor::on_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo != SIGCHLD) on_stop();
  }
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == worker_) on_worker_exit(status);
    acceleration_.on_exit(pid);
  }
}

void Supervisor::drop_worker(const Error& cause) {
  log_error("worker " + std::to_string(worker_) + ": " + cause.to_string());
  link_.close();
  if (worker_ > 0 && !is_stopping_) ::kill(worker_, SIGKILL);
}

void Supervisor::on_link() {
  Result<LinkMessage> message = link_.receive(Duration(0));
  if (!message) {
    // A closed link is usually the first sign of a worker's death; its status follows.
    if (message.error().code != ErrorCode::kNotFound) {
      log_debug(message.error().to_string());
      link_.close();
    }
    return;
  }
  const Result<void> served = requests_->serve(link_, *message);
  if (!served) drop_worker(served.error());
}

int Supervisor::poll_timeout_ms() const {
  const Instant next =
      std::min({restart_at_, kill_at_, sweep_at_, beat_at_, watch_at_, acceleration_.deadline()});
  if (next == kNever) return -1;
  const Duration left = std::max(Duration(0), next - monotonic_now());
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
}

void Supervisor::step() {
  std::array<pollfd, 3> polled = {pollfd{signals_.get(), POLLIN, 0},
                                  pollfd{link_.is_open() ? link_.fd() : -1, POLLIN, 0},
                                  pollfd{acceleration_.fd(), POLLIN, 0}};
  ::poll(polled.data(), polled.size(), poll_timeout_ms());
  if (link_.is_open() && polled[1].revents != 0) on_link();
  if (polled[2].revents != 0) acceleration_.on_readable();
  if (polled[0].revents != 0) on_signals();
  const Instant now = monotonic_now();
  if (now >= acceleration_.deadline()) acceleration_.on_deadline();
  if (now >= kill_at_ && worker_ > 0) {
    log_error("worker " + std::to_string(worker_) + " did not finish in time and is killed");
    ::kill(worker_, SIGKILL);
    kill_at_ = kNever;
  }
  if (now >= restart_at_ && !exit_status_) {
    const Result<void> spawned = spawn();
    if (!spawned) drop_worker(spawned.error());
    if (!spawned && worker_ < 0) restart_at_ = now + kBackOffMax;
  }
  if (now >= sweep_at_) sweep_at_ = now + capture_->sweep();
  if (now >= beat_at_) beat_for_worker();
  if (now >= watch_at_) watch_worker();
}

int Supervisor::run() {
  while (!exit_status_) step();
  if (capture_) capture_->stop_capturing();
  return *exit_status_;
}

}  // namespace

Result<HookChoice> parse_hook_choice(const std::string& text) {
  if (text == "auto") return HookChoice::kAuto;
  if (text == "tcx") return HookChoice::kTcx;
  if (text == "clsact") return HookChoice::kClsact;
  return Error{ErrorCode::kInvalid, "--hook " + text, "tcx, clsact and auto are allowed", ""};
}

int run_supervisor(const SupervisorOptions& options) {
  Supervisor supervisor(options);
  const Result<void> started = supervisor.start();
  if (!started) {
    log_error(started.error().to_string());
    return 1;
  }
  return supervisor.run();
}

}  // namespace np::kernel
