// SPDX-License-Identifier: Apache-2.0
#include "control/data_path.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace np::control {
namespace {

std::vector<SocketAddress> binds_of(const policy::Snapshot& snapshot) {
  std::vector<SocketAddress> binds;
  for (const policy::GatewayListener& listener : snapshot.listeners) binds.push_back(listener.bind);
  std::sort(binds.begin(), binds.end());
  binds.erase(std::unique(binds.begin(), binds.end()), binds.end());
  return binds;
}

std::vector<SocketAddress> union_of(const std::vector<SocketAddress>& a,
                                    const std::vector<SocketAddress>& b) {
  std::vector<SocketAddress> all;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  return all;
}

}  // namespace

// Before the shards know the snapshot, its listeners are opened and those that go stay open: a
// client of theirs is still served. When both cannot be open at once (0.0.0.0:80 becomes
// 127.0.0.1:80) the new set alone is tried.
Result<void> DataPath::open_listeners(const policy::Snapshot& next) {
  const std::vector<SocketAddress> wanted = binds_of(next);
  if (current_ != nullptr && wanted == open_) return ok();
  const std::vector<SocketAddress> both = union_of(open_, wanted);
  if (both != wanted && seams_.listeners->set(both)) {
    open_ = both;
    return ok();
  }
  auto result = seams_.listeners->set(wanted);
  if (result) {
    open_ = wanted;
    return ok();
  }
  if (current_ != nullptr) return result;
  listener_problem_ = result.error().to_string();
  log_error("listeners: " + listener_problem_);
  return ok();
}

Result<void> DataPath::run_steps(const SnapshotPointer& next, bool& published) {
  listener_problem_.clear();
  NP_TRY(open_listeners(*next));
  if (seams_.capture != nullptr) NP_TRY(seams_.capture->add(*next));
  published = true;
  NP_TRY(seams_.sink->publish(next));
  if (seams_.capture != nullptr) NP_TRY(seams_.capture->retire(*next));
  const std::vector<SocketAddress> wanted = binds_of(*next);
  if (open_ == wanted || !listener_problem_.empty()) return ok();
  NP_TRY(seams_.listeners->set(wanted));
  open_ = wanted;
  return ok();
}

Error DataPath::put_back(Error why, bool published) {
  if (current_ == nullptr) return why;
  std::string failed;
  const auto note = [&failed](const Result<void>& result) {
    if (!result) failed += (failed.empty() ? "" : "; ") + result.error().to_string();
  };
  const std::vector<SocketAddress> wanted = binds_of(*current_);
  if (seams_.capture != nullptr) note(seams_.capture->add(*current_));
  if (published) note(seams_.sink->publish(current_));
  if (seams_.capture != nullptr) note(seams_.capture->retire(*current_));
  auto listening = seams_.listeners->set(wanted);
  note(listening);
  if (listening) open_ = wanted;
  if (failed.empty()) {
    why.hint += (why.hint.empty() ? "" : "; ") + std::string("the policy before it is in effect");
    return why;
  }
  log_error("putting the earlier policy back failed: " + failed);
  why.hint +=
      (why.hint.empty() ? "" : "; ") + ("putting the earlier policy back failed too: " + failed);
  return why;
}

Result<void> DataPath::install(SnapshotPointer next) {
  bool published = false;
  auto result = run_steps(next, published);
  if (!result) return put_back(std::move(result).error(), published);
  current_ = std::move(next);
  expose();
  return ok();
}

// What listens sheds load at the uplink already. No policy fails for it.
void DataPath::expose() const {
  if (seams_.guard == nullptr) return;
  std::vector<SocketAddress> listeners = binds_of(*current_);
  const IpAddress any_v4 = IpAddress::v4(0, 0, 0, 0);
  const size_t count = listeners.size();
  for (size_t i = 0; i < count; ++i) {
    const SocketAddress bind = listeners[i];
    // "::" takes IPv4 as well.
    if (bind.ip == IpAddress{}) listeners.push_back({any_v4, bind.port});
  }
  const auto exposed = seams_.guard->set_exposed(listeners);
  if (!exposed) log_warn("guard: " + exposed.error().to_string());
}

}  // namespace np::control
