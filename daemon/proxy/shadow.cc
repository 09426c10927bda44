// SPDX-License-Identifier: Apache-2.0
#include "proxy/shadow.h"

#include <algorithm>

namespace np::proxy {

bool ShadowLog::note(ShadowKind kind, std::string_view object, Instant now) {
  const SpinGuard guard(lock_);
  auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& one) {
    return one.kind == kind && one.object == object;
  });
  if (entry == entries_.end()) {
    if (entries_.size() >= kEntriesMax) return false;
    entry = entries_.insert(entry, {kind, std::string(object), 0, now});
  }
  return entry->count++ == 0;
}

std::vector<ShadowLog::Note> ShadowLog::take(Instant now) {
  std::vector<Note> notes;
  const SpinGuard guard(lock_);
  // Nothing happened for as long as a line is held back: the next one is told at once anyway.
  std::erase_if(entries_, [&](const Entry& one) { return one.count == 0 && one.due <= now; });
  for (Entry& entry : entries_) {
    if (entry.count == 0 || entry.due > now) continue;
    notes.push_back({entry.kind, entry.object, entry.count});
    entry.count = 0;
    entry.due = now + kEvery;
  }
  return notes;
}

Instant ShadowLog::next_due() {
  Instant next = kNever;
  const SpinGuard guard(lock_);
  for (const Entry& entry : entries_) {
    if (entry.count > 0) next = std::min(next, entry.due);
  }
  return next;
}

}  // namespace np::proxy
