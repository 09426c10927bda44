// SPDX-License-Identifier: Apache-2.0
#include "kernel/acceleration.h"

#include <bpf/libbpf.h>
#include <sys/utsname.h>

#include <array>
#include <cerrno>

#include "kernel/socket_steps.h"

namespace np::kernel {
namespace {

using control::DangerResult;

constexpr std::array kChecks = {
    DangerCheck{"order", "bytes arrive in the order in which they were sent", check_order},
    DangerCheck{"half-close", "the end follows the last byte; the other direction goes on",
                check_half_close},
    DangerCheck{"memory", "a peer that does not read stops its sender", check_memory},
    DangerCheck{"epoll", "who waits in epoll is woken", check_epoll},
    DangerCheck{"peek", "MSG_PEEK shows what is read next", check_peek},
    DangerCheck{"fionread", "FIONREAD counts what waits", check_fionread},
    DangerCheck{"wait-all", "MSG_WAITALL waits for all bytes", check_wait_all},
    DangerCheck{"splice", "splice moves bytes to a pipe", check_splice},
    DangerCheck{"close-unread", "closing with unread bytes resets the sender", check_close_unread},
    DangerCheck{"urgent", "urgent data arrives", check_urgent},
    // Last: a ring that is gone goes on to interrupt this thread's calls for a while.
    DangerCheck{"partial-read", "the unread rest is reported as readable", check_partial_read},
    DangerCheck{"io_uring", "who waits in io_uring is woken", check_io_uring},
};

DangerResult failed(const DangerCheck& check, const std::string& what) {
  return {check.name, check.promise, false, what};
}

// Both ends are redirected to from their first byte on, whoever speaks first.
Result<std::string> check_first_byte(const AcceleratedPairs& pairs, ConnectedPair& pair) {
  for (const auto* ends : {&pair.server, &pair.client}) {
    const bool is_server = ends == &pair.server;
    NP_TRY_ASSIGN(const np_acc_st before, pairs.counters());
    NP_TRY(put(ends->get(), "x"));
    NP_TRY(expect_bytes((is_server ? pair.client : pair.server).get(), "x"));
    NP_TRY_ASSIGN(const np_acc_st after, pairs.counters());
    if (after.redirected != before.redirected + 1) {
      return seen(std::string("the first byte of the ") + (is_server ? "server" : "client") +
                  " was not redirected");
    }
  }
  return std::string("both ends are enrolled before their first byte");
}

DangerResult check_enrolment(AcceleratedPairs& pairs) {
  const DangerCheck check{"enrolment", "both ends are enrolled before their first byte", nullptr};
  Result<ConnectedPair> pair = pairs.make(LoopbackFamily::kV4);
  if (!pair) return failed(check, pair.error().to_string());
  const Result<std::string> found = check_first_byte(pairs, *pair);
  if (!found) return failed(check, found.error().detail);
  return {check.name, check.promise, true, *found};
}

// A check that met no redirected byte has seen the stack, and says nothing.
DangerResult run_redirected(const DangerCheck& check, AcceleratedPairs& pairs) {
  const Result<np_acc_st> before = pairs.counters();
  DangerResult result = run_check(check, pairs);
  const Result<np_acc_st> after = pairs.counters();
  if (!before || !after || after->redirected == before->redirected) {
    return failed(check, "nothing was redirected: " + result.seen);
  }
  return result;
}

}  // namespace

std::span<const DangerCheck> danger_checks() {
  return kChecks;
}

DangerResult run_check(const DangerCheck& check, ConnectedPairs& pairs) {
  DangerResult result{check.name, check.promise, true, ""};
  for (const LoopbackFamily family : {LoopbackFamily::kV4, LoopbackFamily::kV6}) {
    const bool is_v6 = family == LoopbackFamily::kV6;
    if (is_v6 && !pairs.make(family)) break;  // a node without IPv6
    const Result<std::string> found = check.run(pairs, family);
    if (!found) return failed(check, (is_v6 ? "IPv6: " : "") + found.error().detail);
    if (!is_v6) result.seen = *found;
  }
  return result;
}

Result<std::vector<DangerResult>> test_socket_redirection(const RedirectionRules& rules) {
  NP_TRY_ASSIGN(const auto pairs, AcceleratedPairs::create(rules));
  std::vector<DangerResult> results = {check_enrolment(*pairs)};
  for (const DangerCheck& check : kChecks) results.push_back(run_redirected(check, *pairs));
  return results;
}

std::string acceleration_report_text() {
  control::AccelerationReport report;
  utsname name{};
  if (::uname(&name) == 0) report.release = name.release;
  ::libbpf_set_print(nullptr);  // the problem says it; standard output is read by a program
  const Result<std::vector<DangerResult>> results = test_socket_redirection();
  if (results) report.results = *results;
  if (!results) report.problem = results.error().to_string();
  return to_text(report);
}

}  // namespace np::kernel
