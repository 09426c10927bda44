// SPDX-License-Identifier: Apache-2.0
// RuleIndex: the rules of one host, port and way in, first match wins. Finds the first rule in
// order whose conditions hold without walking the list: paths lead to small buckets, exact values
// of headers, parameters, method or authority split large buckets further. The index only narrows
// down; each candidate's whole condition is checked, so a wrong guess costs time, not correctness.
// Rules that differ by nothing but regular expressions without a literal start stay a list.
//
// Immutable after construction (control thread); match() from any thread, no heap use in steady
// state. Owned by the LayeredTables that share it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/condition.h"
#include "policy/match_trace.h"
#include "policy/snapshot.h"

namespace np::policy {

class RuleIndex {
 public:
  struct Entry {
    Condition condition;
    const Route* route = nullptr;
  };
  explicit RuleIndex(std::vector<Entry> entries);  // in order of evaluation

  RouteMatch match(const RequestView& request, const CallerView& caller) const;
  // The same, and why each rule before the one that holds does not.
  RouteMatch explain(const RequestView& request, const CallerView& caller,
                     std::vector<RuleTrial>& trials) const;
  size_t size() const { return entries_.size(); }

 private:
  using Positions = std::vector<uint32_t>;  // into entries_, ascending

  // What an entry may demand exactly, case-sensitive, so that a hash table can find it.
  struct Key {
    enum class Kind : uint8_t { kMethod, kAuthority, kHeader, kQueryParam };
    Kind kind = Kind::kMethod;
    std::string name;
    bool operator<(const Key& other) const {
      return kind != other.kind ? kind < other.kind : name < other.name;
    }
  };
  using Demands = std::vector<std::pair<Key, std::string>>;
  struct Split {
    Key key;
    std::unordered_map<std::string, Positions, TextHash, std::equal_to<>> by_value;
  };
  struct Bucket {
    Positions list;  // entries with no demand that splits; all of them while the bucket is small
    std::vector<Split> splits;
    uint32_t first = UINT32_MAX;  // smallest position anywhere in it
  };

  // Buckets by whole path and by start of path; one pass over the path finds all that apply.
  class PathTable {
   public:
    explicit PathTable(bool ignore_case) : ignore_case_(ignore_case) {}
    Bucket& exact(std::string_view path) { return bucket(path, true); }
    Bucket& prefix(std::string_view path) { return bucket(path, false); }
    std::vector<Bucket>& buckets() { return buckets_; }
    void freeze();
    template <typename Visit>
    void visit(std::string_view path, Visit&& visit_bucket) const;

   private:
    struct Slot {
      uint64_t hash = 0;
      uint32_t bucket_plus_one = 0;  // 0: free
    };
    uint64_t hash_of(std::string_view text, bool exact) const;
    bool equal(std::string_view path, std::string_view key) const;
    Bucket& bucket(std::string_view path, bool exact);
    const Bucket* find(uint64_t hash, std::string_view path, bool exact) const;

    bool ignore_case_;
    std::vector<Bucket> buckets_;
    std::vector<std::pair<std::string, bool>> keys_;    // folded if ignore_case_; bool: exact
    std::unordered_map<std::string, uint32_t> by_key_;  // while building
    std::vector<Slot> slots_;                           // open addressing, power of two
    std::vector<bool> prefix_length_;                   // whether any prefix has this length
    size_t longest_exact_ = 0;
    bool has_exact_ = false;
  };

  // Position of the first entry that holds; UINT32_MAX: none.
  uint32_t find(const RequestView& request, const CallerView& caller) const;
  RouteMatch match_at(uint32_t position, const RequestView& request) const;
  void place(uint32_t position);
  Demands demands_of(const Condition& condition) const;
  void split(Bucket& bucket) const;
  static std::optional<std::string_view> value_of(const Key& key, const RequestView& request);
  void scan(const Positions& list, const RequestView& request, const CallerView& caller,
            uint32_t& best) const;
  void scan(const Bucket& bucket, const RequestView& request, const CallerView& caller,
            uint32_t& best) const;

  std::vector<Entry> entries_;
  PathTable by_path_{false};
  PathTable by_folded_path_{true};
  Bucket any_path_;
};

}  // namespace np::policy
