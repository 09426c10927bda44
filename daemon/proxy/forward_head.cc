// SPDX-License-Identifier: Apache-2.0
// What heads become on their way through (traffic-semantics 4.4). Codecs have taken out framing and
// hop-by-hop fields already and write their own.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "policy/decide.h"
#include "proxy/core.h"
#include "proxy/exchange.h"

namespace np::proxy {
namespace {

constexpr std::string_view kLoopHeader = "x-nodeproxy-loop";
constexpr std::string_view kMaxForwards = "max-forwards";
constexpr std::string_view kExpectedTimeout = "x-envoy-expected-rq-timeout-ms";
constexpr std::string_view kAttemptCount = "x-envoy-attempt-count";
constexpr size_t kLoopEntryBytes = 16;

// Meant for us, or written anew.
bool is_ours(std::string_view name) {
  return equals_ignoring_case(name, kLoopHeader) || policy::is_call_term(name);
}

// Framing belongs to the codecs: no rule may touch it.
bool is_framing(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "connection", "content-length", "keep-alive",        "proxy-connection",
      "te",         "trailer",        "transfer-encoding", "upgrade"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](std::string_view known) { return equals_ignoring_case(name, known); });
}

bool is_host(std::string_view name) {
  return equals_ignoring_case(name, "host") || equals_ignoring_case(name, ":authority");
}

void remove_field(std::vector<Field>& fields, std::string_view name) {
  std::erase_if(fields, [&](const Field& field) { return equals_ignoring_case(field.name, name); });
}

// What is a line stays one, and lies behind the line copied before it.
Field copy_field(const Field& field, Arena& arena) {
  if (!field.is_line) return {arena.copy(field.name), arena.copy(field.value)};
  const std::string_view line = arena.copy(field.line());
  const auto value_at = static_cast<size_t>(field.value.data() - field.name.data());
  return {line.substr(0, field.name.size()), line.substr(value_at, field.value.size()), true};
}

// A field made here, of texts that may stand in a line.
Field make_line(std::string_view name, std::string_view value, Arena& arena) {
  constexpr std::string_view kBetween = ": ", kEnd = "\r\n";
  char* const line = arena.allocate(name.size() + kBetween.size() + value.size() + kEnd.size());
  char* at = line;
  for (const std::string_view part : {name, kBetween, value, kEnd}) {
    std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  const size_t value_at = name.size() + kBetween.size();
  return {{line, name.size()}, {line + value_at, value.size()}, true};
}

// 16 digits, the highest first.
void write_hex(uint64_t value, char* out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = 16; i-- > 0; value >>= 4U) out[i] = kDigits[value & 15U];
}

}  // namespace

// ---- request ---------------------------------------------------------------------------------

void Exchange::copy_request(const http::Head& head) {
  request_ = head;
  request_.method = arena_.copy(head.method);
  request_.scheme = arena_.copy(head.scheme);
  request_.authority = arena_.copy(head.authority);
  request_.target = arena_.copy(head.target);
  request_.upgrade = arena_.copy(head.upgrade);
  request_.reason = {};
  request_fields_.reserve(head.fields.size() + 2);
  for (const Field& field : head.fields) {
    if (policy::is_untrusted_field(field.name, gateway_)) continue;
    request_fields_.push_back(copy_field(field, arena_));
  }
  // Ours in their place, for policy and endpoint alike.
  std::array<char, IpAddress::kTextBytesMax> text;
  for (const Field& field : policy::own_fields(peer_.ip.format(text))) {
    request_fields_.push_back(make_line(field.name, field.value, arena_));
  }
  request_.fields = request_fields_;
  head_request_ = request_.method == "HEAD";
}

void Exchange::build_request_fields() {
  const policy::Route& route = *match_.route;
  out_fields_.clear();
  out_target_.clear();
  out_authority_.clear();
  if (route.rewrite) policy::rewrite_request(match_, request_view(), out_target_, out_authority_);
  if (out_target_.empty()) {
    out_target_.append(path_);
    if (has_query_) out_target_.append("?").append(query_);
  }
  // Canonical is for matching only: the origin sees the host as the client wrote it.
  const bool new_host = route.rewrite && route.rewrite->authority;
  if (!new_host || kind_ == Kind::kMirror) out_authority_.assign(request_.authority);
  for (const Field& field : request_fields_) {
    if (is_ours(field.name) || is_replaced_by_trace(story_, field.name)) continue;
    out_fields_.push_back(field);
  }
  add_trace_fields();
  count_down_forwards();
  add_call_fields();
  build_forwarding_fields();
  if (choice_ != nullptr) apply_ops(choice_->request_headers, true);
  apply_ops(route.request_headers, true);
}

// What is left for the endpoint to answer in; zero: as long as it likes.
Duration Exchange::time_left() const {
  Duration left = terms_.per_try_timeout;
  if (terms_.timeout <= Duration::zero()) return left;
  // The route's clock runs when the whole request is here.
  const Timer& route = timers_[static_cast<size_t>(ExchangeTimer::kRoute)];
  const Duration whole = route.armed ? route.deadline - core_->now() : terms_.timeout;
  if (left <= Duration::zero() || whole < left) left = whole;
  return std::max<Duration>(left, std::chrono::milliseconds(1));  // 0 would mean none
}

void Exchange::add_call_fields() {
  if (kind_ != Kind::kRequest) return;
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(time_left());
  if (milliseconds.count() > 0) {
    replace_field(kExpectedTimeout, static_cast<uint64_t>(milliseconds.count()));
  }
  if (terms_.retries > 0) replace_field(kAttemptCount, 1U + repeats_ + stale_repeats_);
}

void Exchange::replace_field(std::string_view name, uint64_t value) {
  char text[20];
  const auto written = std::to_chars(text, text + sizeof(text), value);
  remove_field(out_fields_, name);
  const std::string_view digits(text, static_cast<size_t>(written.ptr - text));
  out_fields_.push_back(make_line(name, digits, arena_));
}

void Exchange::build_forwarding_fields() {
  if (loop_header_.name.empty()) {
    if (request_id_.name.empty() && find_field(request_fields_, "x-request-id") == nullptr) {
      request_id_ = make_request_id();
    }
    loop_header_ = make_loop_header();
  }
  if (!request_id_.name.empty()) out_fields_.push_back(request_id_);
  out_fields_.push_back(loop_header_);
}

void Exchange::apply_ops(const policy::HeaderOps& ops, bool to_request) {
  if (ops.empty()) return;
  for (const std::string& name : ops.remove) {
    if (!is_framing(name)) remove_field(out_fields_, name);
  }
  for (const auto& [name, value] : ops.set) {
    if (is_framing(name)) continue;
    if (to_request && is_host(name)) {
      out_authority_.assign(value);
      continue;
    }
    remove_field(out_fields_, name);
    out_fields_.push_back({name, value});
  }
  for (const auto& [name, value] : ops.add) {
    if (is_framing(name) || (to_request && is_host(name))) continue;
    out_fields_.push_back({name, value});
  }
}

// Max-Forwards of methods that have it; malformed values are left alone.
std::optional<uint32_t> Exchange::forwards_left() const {
  if (request_.method != "OPTIONS" && request_.method != "TRACE") return std::nullopt;
  const Field* field = find_field(request_fields_, kMaxForwards);
  if (field == nullptr) return std::nullopt;
  uint32_t value = 0;
  const char* end = field->value.data() + field->value.size();
  const auto [rest, error] = std::from_chars(field->value.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

void Exchange::count_down_forwards() {
  const std::optional<uint32_t> left = forwards_left();
  if (left) replace_field(kMaxForwards, *left - 1);
}

// RFC 9562 4.4: 122 random bits.
Field Exchange::make_request_id() {
  uint64_t high = core_->rng().next();
  uint64_t low = core_->rng().next();
  high = (high & ~uint64_t{0xf000}) | 0x4000U;
  low = (low & ~(uint64_t{3} << 62U)) | (uint64_t{2} << 62U);
  std::array<char, 32> digits;
  write_hex(high, digits.data());
  write_hex(low, digits.data() + 16);
  std::array<char, 36> text;
  char* at = text.data();
  const char* from = digits.data();
  for (const size_t group : {8U, 4U, 4U, 4U, 12U}) {
    if (from != digits.data()) *at++ = '-';
    at = std::copy_n(from, group, at);
    from += group;
  }
  return make_line("x-request-id", {text.data(), text.size()}, arena_);
}

// ---- loop guard ------------------------------------------------------------------------------

// Who we are on this way in: daemon, role and service. A request that comes back to the same place
// with this mark on it would come back for ever.
uint64_t Exchange::loop_mark() const {
  uint64_t mark = core_->loop_token() * 0x9e3779b97f4a7c15U;
  mark ^= (uint64_t{service_id_} << 1U | (gateway_ ? 1U : 0U)) * 0xff51afd7ed558ccdU;
  mark ^= mark >> 31U;
  return mark * 0xc4ceb9fe1a85ec53U;
}

bool Exchange::is_loop() const {
  const Field* seen = find_field(request_fields_, kLoopHeader);
  if (seen == nullptr) return false;
  char mine[kLoopEntryBytes];
  write_hex(loop_mark(), mine);
  if (seen->value.find({mine, kLoopEntryBytes}) != std::string_view::npos) return true;
  return seen->value.size() >= core_->limits().loop_entries_max * (kLoopEntryBytes + 1);
}

Field Exchange::make_loop_header() {
  const Field* seen = find_field(request_fields_, kLoopHeader);
  std::array<char, kLoopEntryBytes> mine;
  write_hex(loop_mark(), mine.data());
  const std::string_view entry(mine.data(), mine.size());
  if (seen == nullptr || seen->value.empty()) return make_line(kLoopHeader, entry, arena_);
  const size_t before = seen->value.size() + 1;
  char* text = arena_.allocate(before + kLoopEntryBytes);
  std::memcpy(text, seen->value.data(), before - 1);
  text[before - 1] = ',';
  std::memcpy(text + before, entry.data(), entry.size());
  return make_line(kLoopHeader, {text, before + kLoopEntryBytes}, arena_);
}

// ---- answer ----------------------------------------------------------------------------------

FieldSpan Exchange::answer_fields(const http::Head& head) {
  const policy::Route& route = *match_.route;
  const bool plain = route.response_headers.empty() && !route.cors && new_cookie_.empty() &&
                     (choice_ == nullptr || choice_->response_headers.empty());
  if (plain) return head.fields;
  out_fields_.assign(head.fields.begin(), head.fields.end());
  add_cors_fields();
  if (!new_cookie_.empty()) out_fields_.push_back({"set-cookie", new_cookie_});
  if (choice_ != nullptr) apply_ops(choice_->response_headers, false);
  apply_ops(route.response_headers, false);
  return out_fields_;
}

// For answers to a cross-origin request that the route allows; ours replace the endpoint's.
void Exchange::add_cors_fields() {
  const policy::Route& route = *match_.route;
  if (!route.cors) return;
  const Field* origin = find_field(request_fields_, "origin");
  if (origin == nullptr || !policy::cors_allows(route, origin->value)) return;
  remove_field(out_fields_, "access-control-allow-origin");
  out_fields_.push_back({"access-control-allow-origin", origin->value});
  if (route.cors->allow_credentials.value_or(false)) {
    remove_field(out_fields_, "access-control-allow-credentials");
    out_fields_.push_back({"access-control-allow-credentials", "true"});
  }
  if (!route.cors->expose_headers.empty()) {
    remove_field(out_fields_, "access-control-expose-headers");
    out_fields_.push_back({"access-control-expose-headers", route.cors->expose_headers});
  }
}

// Cookie affinity: a client without the cookie is given one, if the policy says how long it lives.
void Exchange::make_affinity_cookie() {
  const policy::LoadBalancing& lb = cluster_->load_balancing;
  if (kind_ != Kind::kRequest || has_hash_ || !lb.cookie_ttl ||
      lb.hash_on != policy::LoadBalancing::HashOn::kCookie) {
    return;
  }
  policy::RequestView view = request_view();
  if (policy::request_hash(lb, view, caller_)) return;
  char value[16];
  write_hex(core_->rng().next(), value);
  std::string text = lb.hash_name + "=" + std::string(value, sizeof(value));
  const Field cookie{"cookie", text};
  view.fields = {&cookie, 1};
  const auto hash = policy::request_hash(lb, view, caller_);
  if (!hash) return;
  has_hash_ = true;
  hash_ = *hash;
  const auto ttl = std::chrono::duration_cast<std::chrono::seconds>(*lb.cookie_ttl).count();
  if (ttl > 0) text += "; Max-Age=" + std::to_string(ttl);
  if (!lb.cookie_path.empty()) text += "; Path=" + lb.cookie_path;
  new_cookie_ = arena_.copy(text + "; HttpOnly");
}

}  // namespace np::proxy
