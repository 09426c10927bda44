// SPDX-License-Identifier: Apache-2.0
#include "policy/match.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>

namespace np::policy {

namespace {

// A bucket up to this size is cheaper to walk than to look things up in.
constexpr size_t kSmallBucket = 8;
// Tells the slot of an exact path from the slot of the same bytes as a prefix.
constexpr uint64_t kExactSalt = 0x9e3779b97f4a7c15U;

constexpr uint64_t finished(uint64_t running, bool exact) {
  return mix64(exact ? running ^ kExactSalt : running);
}

}  // namespace

// ---- PathTable -------------------------------------------------------------------------------

uint64_t RuleIndex::PathTable::hash_of(std::string_view text, bool exact) const {
  uint64_t hash = kFnvBasis;
  for (const char c : text) hash = fnv_step(hash, ignore_case_ ? folded(c) : c);
  return finished(hash, exact);
}

bool RuleIndex::PathTable::equal(std::string_view path, std::string_view key) const {
  if (!ignore_case_) return path == key;
  return path.size() == key.size() && std::equal(path.begin(), path.end(), key.begin(),
                                                 [](char a, char b) { return folded(a) == b; });
}

RuleIndex::Bucket& RuleIndex::PathTable::bucket(std::string_view path, bool exact) {
  std::string key(path);
  if (ignore_case_) std::transform(key.begin(), key.end(), key.begin(), folded);
  const auto [found, inserted] =
      by_key_.try_emplace((exact ? "=" : "^") + key, static_cast<uint32_t>(buckets_.size()));
  if (inserted) {
    buckets_.emplace_back();
    keys_.emplace_back(std::move(key), exact);
  }
  return buckets_[found->second];
}

void RuleIndex::PathTable::freeze() {
  by_key_.clear();
  if (keys_.empty()) return;
  slots_.assign(std::bit_ceil(keys_.size() * 2), Slot());
  const size_t mask = slots_.size() - 1;
  for (uint32_t i = 0; i < keys_.size(); ++i) {
    const auto& [key, exact] = keys_[i];
    const uint64_t hash = hash_of(key, exact);
    size_t at = hash & mask;
    while (slots_[at].bucket_plus_one != 0) at = (at + 1) & mask;
    slots_[at] = {hash, i + 1};
    if (exact) {
      has_exact_ = true;
      longest_exact_ = std::max(longest_exact_, key.size());
    } else {
      if (prefix_length_.size() <= key.size()) prefix_length_.resize(key.size() + 1);
      prefix_length_[key.size()] = true;
    }
  }
}

const RuleIndex::Bucket* RuleIndex::PathTable::find(uint64_t hash, std::string_view path,
                                                    bool exact) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at].bucket_plus_one != 0; at = (at + 1) & mask) {
    if (slots_[at].hash != hash) continue;
    const uint32_t index = slots_[at].bucket_plus_one - 1;
    if (keys_[index].second == exact && equal(path, keys_[index].first)) return &buckets_[index];
  }
  return nullptr;
}

template <typename Visit>
void RuleIndex::PathTable::visit(std::string_view path, Visit&& visit_bucket) const {
  if (slots_.empty()) return;
  const bool may_be_exact = has_exact_ && path.size() <= longest_exact_;
  const size_t limit =
      may_be_exact ? path.size()
                   : std::min(path.size(), prefix_length_.empty() ? 0 : prefix_length_.size() - 1);
  uint64_t hash = kFnvBasis;
  for (size_t length = 1; length <= limit; ++length) {
    const char c = path[length - 1];
    hash = fnv_step(hash, ignore_case_ ? folded(c) : c);
    if (length >= prefix_length_.size() || !prefix_length_[length]) continue;
    const Bucket* found = find(finished(hash, false), path.substr(0, length), false);
    if (found != nullptr) visit_bucket(*found);
  }
  if (!may_be_exact) return;
  const Bucket* found = find(finished(hash, true), path, true);
  if (found != nullptr) visit_bucket(*found);
}

// ---- building --------------------------------------------------------------------------------

RuleIndex::RuleIndex(std::vector<Entry> entries) : entries_(std::move(entries)) {
  for (uint32_t i = 0; i < entries_.size(); ++i) place(i);
  split(any_path_);
  for (PathTable* table : {&by_path_, &by_folded_path_}) {
    for (Bucket& bucket : table->buckets()) split(bucket);
    table->freeze();
  }
}

void RuleIndex::place(uint32_t position) {
  const Condition& condition = entries_[position].condition;
  Bucket* bucket = &any_path_;
  if (condition.path()) {
    const StringMatcher& path = *condition.path();
    PathTable& table = path.ignore_case() ? by_folded_path_ : by_path_;
    const std::string start = path.known_prefix();
    if (path.kind() == StringMatch::Kind::kExact) {
      bucket = &table.exact(start);
    } else if (!start.empty()) {
      bucket = &table.prefix(start);
    }
  } else if (condition.path_and_query()) {
    // A path holds no "?", so what comes before one in the literal start lies within the path.
    const std::string start = condition.path_and_query()->known_prefix();
    const std::string_view of_path = std::string_view(start).substr(0, start.find('?'));
    if (!of_path.empty()) {
      bucket =
          &(condition.path_and_query()->ignore_case() ? by_folded_path_ : by_path_).prefix(of_path);
    }
  }
  bucket->first = std::min(bucket->first, position);
  bucket->list.push_back(position);
}

RuleIndex::Demands RuleIndex::demands_of(const Condition& condition) const {
  Demands demands;
  const auto add = [&demands](Key::Kind kind, const std::string& name,
                              const StringMatcher& matcher) {
    if (matcher.kind() != StringMatch::Kind::kExact || matcher.ignore_case()) return;
    Key key{kind, name};
    std::transform(
        key.name.begin(), key.name.end(), key.name.begin(),
        kind == Key::Kind::kHeader ? folded : [](char c) { return c; });
    demands.emplace_back(std::move(key), matcher.value());
  };
  if (condition.method()) add(Key::Kind::kMethod, "", *condition.method());
  if (condition.authority()) add(Key::Kind::kAuthority, "", *condition.authority());
  for (const NamedMatcher& header : condition.headers()) {
    add(Key::Kind::kHeader, header.name, header.matcher);
  }
  for (const NamedMatcher& parameter : condition.query_params()) {
    add(Key::Kind::kQueryParam, parameter.name, parameter.matcher);
  }
  return demands;
}

void RuleIndex::split(Bucket& bucket) const {
  if (bucket.list.size() <= kSmallBucket) return;
  std::vector<Demands> demands;
  std::map<Key, std::set<std::string_view>> values;
  demands.reserve(bucket.list.size());
  for (const uint32_t position : bucket.list) {
    demands.push_back(demands_of(entries_[position].condition));
  }
  for (const Demands& of_entry : demands) {
    for (const auto& [key, value] : of_entry) values[key].insert(value);
  }
  Positions rest;
  std::map<Key, size_t> split_of;
  for (size_t i = 0; i < demands.size(); ++i) {
    // The demand that leaves the fewest neighbours: the key with the most different values.
    const std::pair<Key, std::string>* chosen = nullptr;
    for (const auto& demand : demands[i]) {
      if (chosen == nullptr || values[demand.first].size() > values[chosen->first].size()) {
        chosen = &demand;
      }
    }
    if (chosen == nullptr) {
      rest.push_back(bucket.list[i]);
      continue;
    }
    const auto [found, inserted] = split_of.try_emplace(chosen->first, bucket.splits.size());
    if (inserted) bucket.splits.push_back({chosen->first, {}});
    bucket.splits[found->second].by_value[chosen->second].push_back(bucket.list[i]);
  }
  bucket.list = std::move(rest);
}

// ---- matching --------------------------------------------------------------------------------

std::optional<std::string_view> RuleIndex::value_of(const Key& key, const RequestView& request) {
  switch (key.kind) {
    case Key::Kind::kMethod:
      return request.method;
    case Key::Kind::kAuthority:
      return request.authority;
    case Key::Kind::kHeader:
      return header_value(request, key.name);
    case Key::Kind::kQueryParam:
      return query_value(request.query, key.name);
  }
  return std::nullopt;
}

void RuleIndex::scan(const Positions& list, const RequestView& request, const CallerView& caller,
                     uint32_t& best) const {
  for (const uint32_t position : list) {
    if (position >= best) return;
    if (!entries_[position].condition.holds(request, caller)) continue;
    best = position;
    return;
  }
}

void RuleIndex::scan(const Bucket& bucket, const RequestView& request, const CallerView& caller,
                     uint32_t& best) const {
  if (bucket.first >= best) return;
  scan(bucket.list, request, caller, best);
  for (const Split& split : bucket.splits) {
    const auto value = value_of(split.key, request);
    if (!value) continue;
    const auto found = split.by_value.find(*value);
    if (found != split.by_value.end()) scan(found->second, request, caller, best);
  }
}

uint32_t RuleIndex::find(const RequestView& request, const CallerView& caller) const {
  uint32_t best = UINT32_MAX;
  const auto look = [&](const Bucket& bucket) { scan(bucket, request, caller, best); };
  by_path_.visit(request.path, look);
  by_folded_path_.visit(request.path, look);
  look(any_path_);
  return best;
}

RouteMatch RuleIndex::match_at(uint32_t position, const RequestView& request) const {
  if (position == UINT32_MAX) return {};
  const Entry& entry = entries_[position];
  return {entry.route, entry.condition.matched_prefix_bytes(request)};
}

RouteMatch RuleIndex::match(const RequestView& request, const CallerView& caller) const {
  return match_at(find(request, caller), request);
}

RouteMatch RuleIndex::explain(const RequestView& request, const CallerView& caller,
                              std::vector<RuleTrial>& trials) const {
  const uint32_t best = find(request, caller);
  for (uint32_t i = 0; i < entries_.size() && i <= best; ++i) {
    const Entry& entry = entries_[i];
    trials.push_back({entry.route, entry.condition.to_text(),
                      i == best ? std::string() : entry.condition.mismatch(request, caller)});
  }
  return match_at(best, request);
}

}  // namespace np::policy
