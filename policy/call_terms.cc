// SPDX-License-Identifier: Apache-2.0
#include "policy/call_terms.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "policy/retry_names.h"

namespace np::policy {
namespace {

constexpr std::string_view kPrefix = "x-envoy-";

// Without the prefix, in the order of the enum.
enum Term : uint8_t { kTimeout, kPerTryTimeout, kMaxRetries, kRetryOn, kRetryGrpcOn, kTermCount };
constexpr std::string_view kTerms[kTermCount] = {"upstream-rq-timeout-ms",
                                                 "upstream-rq-per-try-timeout-ms", "max-retries",
                                                 "retry-on", "retry-grpc-on"};

Term term_of(std::string_view name) {
  if (name.size() <= kPrefix.size() || (name.front() | 0x20) != 'x' ||
      !equals_ignoring_case(name.substr(0, kPrefix.size()), kPrefix)) {
    return kTermCount;
  }
  name.remove_prefix(kPrefix.size());
  const auto known = std::find_if(std::begin(kTerms), std::end(kTerms), [&](std::string_view term) {
    return equals_ignoring_case(name, term);
  });
  return static_cast<Term>(known - std::begin(kTerms));
}

std::optional<uint32_t> whole_number(std::string_view text) {
  uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

uint32_t retry_bits(std::string_view list) {
  uint32_t bits = 0;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (name.starts_with(' ') || name.starts_with('\t')) name.remove_prefix(1);
    while (name.ends_with(' ') || name.ends_with('\t')) name.remove_suffix(1);
    bits |= retry_bit(name);
  }
  return bits;
}

// A try that may last as long as the whole needs no clock of its own.
void drop_idle_limit(CallTerms& terms) {
  const bool reaches = terms.timeout > Duration::zero() && terms.per_try_timeout >= terms.timeout;
  if (reaches) terms.per_try_timeout = Duration::zero();
}

struct Wishes {
  std::optional<uint32_t> timeout_ms, per_try_ms, retries;
  uint32_t retry_on = 0;
};

void note_wish(const Field& field, Wishes& wishes) {
  const auto keep_first = [&](std::optional<uint32_t>& wish) {
    if (!wish) wish = whole_number(field.value);
  };
  switch (term_of(field.name)) {
    case kTimeout:
      return keep_first(wishes.timeout_ms);
    case kPerTryTimeout:
      return keep_first(wishes.per_try_ms);
    case kMaxRetries:
      return keep_first(wishes.retries);
    case kRetryOn:
    case kRetryGrpcOn:
      wishes.retry_on |= retry_bits(field.value);
      return;
    case kTermCount:
      return;
  }
}

}  // namespace

CallTerms terms_of_route(const Route& route) {
  CallTerms terms;
  terms.timeout = std::max(route.timeout, Duration::zero());
  terms.per_try_timeout = std::max(route.retry.per_try_timeout, Duration::zero());
  terms.retries = route.retry.attempts;
  // Conditions without a try to repeat are no policy that a caller could add tries to.
  if (terms.retries > 0) terms.retry_on = route.retry.on;
  drop_idle_limit(terms);
  return terms;
}

CallTerms terms_for_caller(const Route& route, FieldSpan fields, uint32_t retries_max) {
  Wishes wishes;
  for (const Field& field : fields) note_wish(field, wishes);
  CallTerms terms = terms_of_route(route);
  if (wishes.timeout_ms) terms.timeout = std::chrono::milliseconds(*wishes.timeout_ms);
  terms.per_try_timeout = std::max(route.retry.per_try_timeout, Duration::zero());
  if (wishes.per_try_ms) terms.per_try_timeout = std::chrono::milliseconds(*wishes.per_try_ms);
  terms.retry_on |= wishes.retry_on;
  if (terms.retry_on != 0) {
    if (terms.retries == 0) terms.retries = 1;
    if (wishes.retries) terms.retries = std::min(*wishes.retries, retries_max);
  }
  drop_idle_limit(terms);
  return terms;
}

bool is_call_term(std::string_view name) {
  return term_of(name) != kTermCount;
}

bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" ||
         method == "DELETE" || method == "TRACE";
}

}  // namespace np::policy
