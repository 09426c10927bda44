// SPDX-License-Identifier: Apache-2.0
// top: asks twice and shows the difference, again and again on a terminal.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "client.h"
#include "commands.h"
#include "output.h"
#include "top_cells.h"
#include "top_view.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t g_stop = 0;
volatile std::sig_atomic_t g_resized = 0;

void on_signal(int number) {
  (number == SIGWINCH ? g_resized : g_stop) = 1;
}

// The terminal while a screen is redrawn on it: keys come one by one and unseen, the cursor is
// hidden, and everything is as before when this ends. Signals arrive while it waits, and only then,
// so that none is missed.
class Screen {
 public:
  Screen() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigset_t ours;
    ::sigemptyset(&ours);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH}) {
      ::sigaddset(&ours, number);
      ::sigaction(number, &action, nullptr);
    }
    ::sigprocmask(SIG_BLOCK, &ours, &while_waiting_);
    if (::tcgetattr(STDIN_FILENO, &before_) == 0) {
      has_keys_ = true;
      termios raw = before_;
      raw.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO));
      ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    show("\x1b[?1049h\x1b[?25l\x1b[?7l");  // long lines are cut, not wrapped
  }
  ~Screen() {
    show("\x1b[?7h\x1b[?25h\x1b[?1049l");
    if (has_keys_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  static void draw(const std::string& text) { show("\x1b[H\x1b[2J" + text); }
  static size_t rows() {
    constexpr size_t kUsualRows = 24;
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return kUsualRows;
    return size.ws_row;
  }
  // False: the person has seen enough. `redraw` is called when the size has changed.
  bool wait(std::chrono::microseconds lasting, const std::function<void()>& redraw) const {
    const Clock::time_point end = Clock::now() + lasting;
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(end - Clock::now());
      if (left.count() <= 0) return true;
      if (is_key_q(left)) return false;
      if (g_stop != 0) return false;
      if (g_resized != 0) {
        g_resized = 0;
        redraw();
      }
    }
  }

 private:
  static void show(const std::string& text) {
    print(text);
    std::fflush(stdout);
  }
  bool is_key_q(std::chrono::nanoseconds left) const {
    constexpr int64_t kNsPerSecond = 1'000'000'000;
    const timespec patience{.tv_sec = left.count() / kNsPerSecond,
                            .tv_nsec = left.count() % kNsPerSecond};
    pollfd input{.fd = has_keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
    if (::ppoll(&input, 1, &patience, &while_waiting_) <= 0) return false;
    char key = 0;
    return ::read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q';
  }

  termios before_{};
  sigset_t while_waiting_{};
  bool has_keys_ = false;
};

struct Answer {
  Json report;
  Clock::time_point at;
};

// Nothing: the daemon does not answer, and `problem` says why.
std::optional<Answer> ask_once(const Invocation& invocation, std::string& problem) {
  const char* verb = invocation.kind == "connections" ? "connections" : "overview";
  constexpr time_t kSilenceSeconds = 5;
  auto answer = ask(invocation.run_dir, {{"verb", verb}}, kSilenceSeconds);
  if (!answer) {
    problem = answer.error().to_string();
    return std::nullopt;
  }
  if (!answer->value("ok", false)) {
    problem = answer->value("error", "refused");
    return std::nullopt;
  }
  return Answer{(*answer)["report"], Clock::now()};
}

TopOptions options_of(const Invocation& invocation) {
  TopOptions options;
  options.kind = invocation.kind;
  options.sort = invocation.sort;
  options.ns = invocation.has_namespace && !invocation.all_namespaces ? invocation.ns : "";
  return options;
}

TopTable between(const TopOptions& options, const Answer& before, const Answer& after) {
  const double seconds = std::chrono::duration<double>(after.at - before.at).count();
  return top_table(options, before.report, after.report, std::max(seconds, 1e-3));
}

// Plain blocks, for pipes and scripts.
int run_plain(const Invocation& invocation) {
  const TopOptions options = options_of(invocation);
  std::string problem;
  auto before = ask_once(invocation, problem);
  for (uint32_t round = 0; before && round < std::max(invocation.count, 1U); ++round) {
    ::usleep(static_cast<useconds_t>(invocation.interval_us));
    auto after = ask_once(invocation, problem);
    if (!after) break;
    const TopTable table = between(options, *before, *after);
    if (invocation.output == Output::kJson) {
      print(top_json(table, invocation.limit).dump(2, ' ', true, Json::error_handler_t::replace) +
            "\n");
    } else {
      print((round > 0 ? "\n" : "") + top_text(table, invocation.limit));
    }
    std::fflush(stdout);
    before = std::move(after);
  }
  if (problem.empty()) return kExitDone;
  std::fprintf(stderr, "error: %s\n", visible(problem).c_str());
  return kExitFailed;
}

// As many rows as fit, or as were asked for.
std::string picture(const Invocation& invocation, const TopTable& table) {
  constexpr size_t kOtherRows = 4;  // title, head, "and more", and the line about keys
  size_t rows = std::max(Screen::rows(), kOtherRows + 1) - kOtherRows;
  if (invocation.has_limit) rows = std::min<size_t>(rows, invocation.limit);
  return top_text(table, rows) + "q ends this";  // a line's end here would scroll a full screen
}

int run_screen(const Invocation& invocation) {
  const TopOptions options = options_of(invocation);
  const std::chrono::microseconds interval(invocation.interval_us);
  std::optional<Answer> before;
  std::string problem;
  const Screen screen;
  for (uint32_t drawn = 0; invocation.count == 0 || drawn < invocation.count;) {
    auto now = ask_once(invocation, problem);
    std::optional<TopTable> table;
    if (now && before) table = between(options, *before, *now);
    const bool is_answered = now.has_value();
    const auto draw = [&] {
      if (table) {
        Screen::draw(picture(invocation, *table));
      } else if (is_answered) {
        Screen::draw("measuring ...");
      } else {
        Screen::draw("The daemon does not answer; trying again.\n" + visible(problem));
      }
    };
    draw();
    if (table) ++drawn;
    before = std::move(now);
    if (!screen.wait(interval, draw)) break;
  }
  return kExitDone;
}

}  // namespace

int run_top(const Invocation& invocation) {
  const std::vector<std::string> names = top_sort_names(invocation.kind);
  if (!invocation.sort.empty() && !is_top_sort(invocation.kind, invocation.sort)) {
    std::string allowed;
    for (const std::string& name : names) allowed += (allowed.empty() ? "" : ", ") + name;
    std::fprintf(stderr, "error: --sort: found \"%s\"; allowed: %s\n",
                 visible(invocation.sort).c_str(), allowed.c_str());
    return kExitUsage;
  }
  const bool is_screen =
      ::isatty(STDOUT_FILENO) == 1 && !invocation.is_batch && invocation.output != Output::kJson;
  return is_screen ? run_screen(invocation) : run_plain(invocation);
}

}  // namespace np::nodectl
