// SPDX-License-Identifier: Apache-2.0
// The rest of the daemon, as the control thread sees it: each fake records its calls in one journal
// and fails on request. Also a directory that goes away with its owner.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "control/data_path.h"
#include "control/seams.h"

namespace np::control {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "np-control-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One object for all seams, so that the order of their calls can be told.
class FakeDaemon : public SnapshotSink,
                   public ListenerHost,
                   public CaptureTable,
                   public PodAttacher,
                   public CounterSource,
                   public NodeInspector,
                   public FlowResetter,
                   public Reporter,
                   public OverloadSource,
                   public Lifecycle {
 public:
  std::vector<std::string> journal;
  std::vector<std::string> failing;  // names of calls that fail
  std::shared_ptr<const policy::Snapshot> published;
  std::vector<SocketAddress> listening;
  uint64_t capture_generation = 0;
  std::vector<PodState> pods;
  std::vector<Check> node;  // what the supervisor finds
  bool drained = false;
  Duration reset_window{};
  OverloadStatus load;
  OverloadStatus overload() override { return load; }
  std::string open_connections = R"({"connections":[]})";

  Seams seams() {
    Seams all;
    all.sink = this;
    all.listeners = this;
    all.capture = this;
    all.attacher = this;
    all.counters = this;
    all.lifecycle = this;
    all.inspector = this;
    all.resetter = this;
    all.reporter = this;
    all.overload = this;
    return all;
  }

  Result<void> publish(std::shared_ptr<const policy::Snapshot> snapshot) override {
    NP_TRY(called("publish"));
    published = std::move(snapshot);
    return ok();
  }
  Result<void> set(const std::vector<SocketAddress>& binds) override {
    NP_TRY(called("listen"));
    listening = binds;
    return ok();
  }
  Result<void> add(const policy::Snapshot& snapshot) override {
    NP_TRY(called("add"));
    capture_generation = snapshot.generation;
    return ok();
  }
  Result<void> retire(const policy::Snapshot& snapshot) override {
    NP_TRY(called("retire"));
    capture_generation = snapshot.generation;
    return ok();
  }
  Result<PodState> attach(const PodAttachment& pod) override {
    NP_TRY(called("attach " + pod.name));
    erase_pod(pod.pod_id);
    PodState state;
    state.pod_id = pod.pod_id;
    state.ifname = pod.ifname;
    state.ifindex = 7;
    state.hook = "tcx";
    state.captured_since_unix_ns = 1'700'000'000'000'000'000;
    pods.push_back(state);
    return state;
  }
  Result<void> detach(uint32_t pod_id) override {
    NP_TRY(called("detach"));
    erase_pod(pod_id);
    return ok();
  }
  std::vector<PodState> list() override { return pods; }
  std::vector<NamedCounter> counters() override {
    return {{"requests_total", 42}, {"captured_total", 7}};
  }
  std::map<uint32_t, std::vector<NamedCounter>> pod_use() override {
    std::map<uint32_t, std::vector<NamedCounter>> all;
    for (const PodState& pod : pods) all[pod.pod_id] = {{"flows_open", 3}};
    return all;
  }
  std::vector<std::string> probe_report() override { return {"tcx: found"}; }
  Result<std::vector<Check>> inspect() override {
    NP_TRY(called("inspect"));
    return node;
  }
  void reset_uncaptured_flows(Duration window) override { reset_window = window; }
  std::string overview() override { return "{}"; }
  std::string traces(const TraceFilter&) override { return "[]"; }
  std::string trace(const std::string&) override { return ""; }
  std::string connections() override { return open_connections; }
  Result<void> drain() override {
    drained = true;
    return ok();
  }

 private:
  Result<void> called(const std::string& name) {
    journal.push_back(name);
    if (std::count(failing.begin(), failing.end(), name) == 0) return ok();
    return Error{ErrorCode::kSystem, name, "it was told to fail", ""};
  }
  void erase_pod(uint32_t pod_id) {
    std::erase_if(pods, [pod_id](const PodState& pod) { return pod.pod_id == pod_id; });
  }
};

}  // namespace np::control
