// SPDX-License-Identifier: Apache-2.0
// Exchange, phase Decide: rate limits and denials of the called service, after the caller's faults
// and before anything goes upstream (traffic-semantics 1.6).
#include <array>
#include <charconv>

#include "policy/quota.h"
#include "proxy/core.h"
#include "proxy/exchange.h"

namespace np::proxy {
namespace {

constexpr std::string_view kExhausted = "RESOURCE_EXHAUSTED:Quota is exhausted for: ";

}  // namespace

bool Exchange::refused_by_checks() {
  if (cluster_ == nullptr || cluster_->checks == nullptr) return false;
  policy::AttributeView view;
  const policy::RequestView request = request_view();
  view.request = &request;
  view.caller = &caller_;
  view.destination = &cluster_->checks->destination;
  const Field* id = find_field(request_fields_, "x-request-id");
  if (id == nullptr) request_id_ = make_request_id();
  view.request_id = id != nullptr ? id->value : request_id_.value;
  if (request_.body == http::BodyKind::kNone) view.request_size = 0;
  if (request_.has_content_length) view.request_size = request_.content_length;
  // Outside clients may write what they like into the id; between pods it marks one request.
  const bool deduplicate = id != nullptr && !gateway_;
  const auto refusal =
      core_->checker().check(*cluster_->checks, view, deduplicate, core_->now(), core_->counters());
  if (!refusal) return false;
  refuse(*refusal);
  return true;
}

void Exchange::refuse(const Refusal& refusal) {
  add_cors_fields();
  if (!refusal.denial.empty()) {
    answer(refusal.status, core_->texts().slice(pin_, refusal.denial), "text/plain");
    enter_finish(EndReason::kDenied);
    return;
  }
  out_fields_.push_back({"x-envoy-ratelimited", "true"});
  if (refusal.retry_after) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(*refusal.retry_after).count();
    std::array<char, 24> text{};
    const auto end =
        std::to_chars(text.data(), text.data() + text.size(), std::max<int64_t>(seconds, 1)).ptr;
    const std::string_view value(text.data(), static_cast<size_t>(end - text.data()));
    out_fields_.push_back({"retry-after", arena_.copy(value)});
  }
  char* body = arena_.allocate(kExhausted.size() + refusal.quota.size());
  std::copy(refusal.quota.begin(), refusal.quota.end(),
            std::copy(kExhausted.begin(), kExhausted.end(), body));
  answer(refusal.status, {{}, {body, kExhausted.size() + refusal.quota.size()}}, "text/plain");
  enter_finish(EndReason::kRateLimited);
}

}  // namespace np::proxy
