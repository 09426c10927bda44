// SPDX-License-Identifier: Apache-2.0
#include "control/object_store.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "control/resource_name.h"

namespace np::control {
namespace {

using Index = std::map<policy::ObjectId, size_t>;

Index index_of(const std::vector<policy::Object>& objects) {
  Index index;
  for (size_t i = 0; i < objects.size(); ++i) index.emplace(objects[i].id, i);
  return index;
}

std::string place(const policy::Object& object) {
  return object.file + ":" + std::to_string(object.line);
}

// Blank lines at the end depend on how documents were joined in a file, not on what they say.
std::string_view trimmed(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end == std::string_view::npos ? std::string_view{} : text.substr(0, end + 1);
}

bool says_the_same(const policy::Object& a, const policy::Object& b) {
  return a.api_version == b.api_version && trimmed(a.text) == trimmed(b.text);
}

std::string quoted(const policy::ObjectId& id) {
  std::string text = resource_type(id) + " \"" + id.name + "\"";
  if (!id.ns.empty()) text += " in namespace \"" + id.ns + "\"";
  return text;
}

// The same object twice in one request is harmless when both say the same, and else ambiguous.
std::vector<policy::Object> without_repeats(Verb verb, std::vector<policy::Object> given,
                                            std::vector<std::string>& errors) {
  std::vector<policy::Object> unique;
  Index seen;
  for (policy::Object& object : given) {
    const auto [at, is_new] = seen.emplace(object.id, unique.size());
    if (is_new) {
      unique.push_back(std::move(object));
      continue;
    }
    const policy::Object& first = unique[at->second];
    if (verb != Verb::kDelete && !says_the_same(first, object)) {
      errors.push_back(quoted(object.id) + " is given twice with different content: " +
                       place(first) + " and " + place(object));
    }
  }
  return unique;
}

// Fills in what a stored object keeps through a change.
void put(Plan& plan, Index& index, policy::Object object, Outcome if_changed, uint64_t now) {
  const auto found = index.find(object.id);
  if (found == index.end()) {
    object.sequence = plan.next_sequence++;
    object.generation = 1;
    object.created_unix_ns = object.changed_unix_ns = now;
    plan.changes.push_back({object.id, Outcome::kCreated});
    index.emplace(object.id, plan.objects.size());
    plan.objects.push_back(std::move(object));
    return;
  }
  policy::Object& old = plan.objects[found->second];
  if (says_the_same(old, object)) {
    plan.changes.push_back({object.id, Outcome::kUnchanged});
    return;
  }
  object.sequence = old.sequence;
  object.generation = old.generation + 1;
  object.created_unix_ns = old.created_unix_ns;
  object.changed_unix_ns = now;
  plan.changes.push_back({object.id, if_changed});
  old = std::move(object);
}

}  // namespace

std::string_view to_text(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCreated:
      return "created";
    case Outcome::kConfigured:
      return "configured";
    case Outcome::kReplaced:
      return "replaced";
    case Outcome::kUnchanged:
      return "unchanged";
    case Outcome::kDeleted:
      return "deleted";
  }
  return "";
}

bool Plan::changes_anything() const {
  return std::any_of(changes.begin(), changes.end(),
                     [](const Change& c) { return c.outcome != Outcome::kUnchanged; });
}

Plan ObjectStore::plan(Verb verb, std::vector<policy::Object> given,
                       const PlanOptions& options) const {
  Plan plan;
  plan.objects = objects_;
  plan.next_sequence = next_sequence_;
  given = without_repeats(verb, std::move(given), plan.errors);
  Index index = index_of(objects_);
  std::set<policy::ObjectId> removed;
  for (policy::Object& object : given) {
    const bool exists = index.contains(object.id);
    if (verb == Verb::kDelete) {
      if (exists) {
        plan.changes.push_back({object.id, Outcome::kDeleted});
        removed.insert(object.id);
      } else if (!options.ignore_not_found) {
        plan.errors.push_back(quoted(object.id) + " not found");
      }
      continue;
    }
    if (verb == Verb::kCreate && exists) {
      plan.errors.push_back(quoted(object.id) + " already exists");
    } else if (verb == Verb::kReplace && !exists) {
      plan.errors.push_back(quoted(object.id) + " not found");
    } else {
      put(plan, index, std::move(object),
          verb == Verb::kReplace ? Outcome::kReplaced : Outcome::kConfigured, options.now_unix_ns);
    }
  }
  std::erase_if(plan.objects, [&](const policy::Object& o) { return removed.contains(o.id); });
  return plan;
}

void ObjectStore::commit(Plan plan) {
  NP_CHECK(plan.errors.empty());
  objects_ = std::move(plan.objects);
  next_sequence_ = plan.next_sequence;
}

void ObjectStore::restore(std::vector<policy::Object> objects, uint64_t next_sequence) {
  objects_ = std::move(objects);
  std::sort(objects_.begin(), objects_.end(), [](const policy::Object& a, const policy::Object& b) {
    return a.sequence < b.sequence;
  });
  next_sequence_ = std::max<uint64_t>(next_sequence, 1);
  if (!objects_.empty()) next_sequence_ = std::max(next_sequence_, objects_.back().sequence + 1);
}

const policy::Object* ObjectStore::find(const policy::ObjectId& id) const {
  const auto at = std::find_if(objects_.begin(), objects_.end(),
                               [&](const policy::Object& object) { return object.id == id; });
  return at == objects_.end() ? nullptr : &*at;
}

}  // namespace np::control
