// SPDX-License-Identifier: Apache-2.0
// Collects what compile() has to say about objects; the same message about the same object is kept
// once, because one rule is compiled for several ports. Control thread; lives during one compile().
#pragma once

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "policy/snapshot.h"

namespace np::policy {

class Findings {
 public:
  void note(const Origin& origin, std::string message) {
    add(Finding::Level::kNote, origin, std::move(message));
  }
  void warning(const Origin& origin, std::string message, Topic topic = Topic::kOther) {
    add(Finding::Level::kWarning, origin, std::move(message), topic);
  }
  void inactive(const Origin& origin, std::string message, Topic topic = Topic::kOther) {
    add(Finding::Level::kInactive, origin, std::move(message), topic);
  }
  // How far an object that is in effect reaches, in a word or two.
  void scope(const Origin& origin, std::string message) {
    add(Finding::Level::kScope, origin, std::move(message));
  }
  std::vector<Finding> take() { return std::move(list_); }

 private:
  void add(Finding::Level level, const Origin& origin, std::string message,
           Topic topic = Topic::kOther) {
    if (!seen_.emplace(origin.kind, origin.ns, origin.name, message).second) return;
    list_.push_back({level, origin, std::move(message), topic});
  }

  std::vector<Finding> list_;
  std::set<std::tuple<std::string, std::string, std::string, std::string>> seen_;
};

}  // namespace np::policy
