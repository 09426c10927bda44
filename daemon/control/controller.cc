// SPDX-License-Identifier: Apache-2.0
#include "control/controller.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/time.h"

namespace np::control {
namespace {

ChangeAnswer refused(std::string why) {
  ChangeAnswer answer;
  answer.errors.push_back(std::move(why));
  return answer;
}

std::vector<policy::ObjectId> ids_of(const std::vector<Change>& changes) {
  std::vector<policy::ObjectId> ids;
  for (const Change& change : changes) ids.push_back(change.id);
  return ids;
}

std::vector<PodRegistration> with(std::vector<PodRegistration> pods, const PodRegistration& pod) {
  std::erase_if(pods,
                [&](const PodRegistration& p) { return p.ns == pod.ns && p.name == pod.name; });
  pods.push_back(pod);
  return pods;
}

std::vector<PodRegistration> without(std::vector<PodRegistration> pods, const std::string& ns,
                                     const std::string& name) {
  std::erase_if(pods, [&](const PodRegistration& p) { return p.ns == ns && p.name == name; });
  return pods;
}

}  // namespace

Controller::Controller(const Seams& seams, StateFile* state)
    : state_(state),
      watcher_(seams.policies),
      acceleration_(seams.acceleration),
      data_path_(seams),
      pods_(seams.attacher),
      guard_(seams.guard, [this] {
        return save(store_.objects(), store_.next_sequence(), pods_.all(), generation_);
      }) {}

// ---- start ------------------------------------------------------------------------------------

void Controller::restore(SavedState saved) {
  generation_ = saved.generation;
  store_.restore(std::move(saved.objects), saved.next_sequence);
  pods_.restore(std::move(saved.pods));
  guard_.restore(std::move(saved.guard));
}

Result<void> Controller::start() {
  if (state_ != nullptr) {
    NP_TRY_ASSIGN(const StateFile::Loaded loaded, state_->load());
    if (loaded.payload) {
      NP_TRY_ASSIGN(SavedState saved, parse_saved_state(*loaded.payload));
      restore(std::move(saved));
    } else if (loaded.kept_aside > 0) {
      log_error("state: no good copy is left; starting without policy");
    }
  }
  Candidate first = load_what_loads(store_.objects());
  for (const auto& [object, reason] : first.held) {
    log_error("stored " + object + " is not accepted by this version and has no effect: " + reason);
  }
  NP_TRY(data_path_.install(first.snapshot));
  statuses_ = StatusBoard(first.model, first.diagnostics, *first.snapshot, first.held);
  model_ = std::move(first.model);
  diagnostics_ = std::move(first.diagnostics);
  held_ = std::move(first.held);
  pods_.attach_all(*data_path_.current());
  guard_.start();
  tell_policies();
  test_acceleration();
  log_info("policy: " + std::to_string(store_.objects().size()) + " objects, " +
           std::to_string(pods_.all().size()) + " pods, generation " + std::to_string(generation_));
  return ok();
}

// Leaves out, one round at a time, the objects that errors name, until the rest loads.
Controller::Candidate Controller::load_what_loads(const std::vector<policy::Object>& objects) {
  Candidate candidate;
  for (;;) {
    candidate.diagnostics.clear();
    candidate.model = load(objects, candidate.held, candidate.diagnostics);
    if (!policy::has_errors(candidate.diagnostics)) break;
    const size_t held_before = candidate.held.size();
    for (const policy::Diagnostic& diagnostic : candidate.diagnostics) {
      if (diagnostic.level != policy::Diagnostic::Level::kError) continue;
      candidate.held.emplace(diagnostic.object, diagnostic.to_string());
    }
    if (candidate.held.size() > held_before) continue;
    // The errors name no object that could be left out: no policy is better than a wrong one.
    for (const policy::Object& object : objects) {
      candidate.held.emplace(object.id.to_string(), candidate.diagnostics.front().to_string());
    }
    candidate.diagnostics.clear();
    candidate.model = policy::Model{};
    break;
  }
  candidate.snapshot = compile(candidate.model);
  return candidate;
}

policy::Model Controller::load(const std::vector<policy::Object>& objects,
                               const StatusBoard::Held& held,
                               policy::Diagnostics& diagnostics) const {
  if (held.empty()) return policy::load_model(objects, diagnostics);
  std::vector<policy::Object> rest;
  for (const policy::Object& object : objects) {
    if (!held.contains(object.id.to_string())) rest.push_back(object);
  }
  return policy::load_model(rest, diagnostics);
}

std::shared_ptr<const policy::Snapshot> Controller::compile(const policy::Model& model) {
  policy::CompileInput input;
  input.model = &model;
  input.dns = &dns_;
  input.generation = ++generation_;
  input.now = monotonic_now();
  input.unix_now_ns = wall_clock_ns();
  return policy::compile(input, ids_);
}

std::shared_ptr<const policy::Snapshot> Controller::compile_registry() const {
  policy::Model registry;
  registry.services = model_.services;
  registry.pods = model_.pods;
  registry.endpoints = model_.endpoints;
  policy::CompileInput input;
  input.model = &registry;
  input.dns = &dns_;
  input.generation = generation_;
  input.now = monotonic_now();
  policy::IdTable unused;  // these ids are shown to nobody
  return policy::compile(input, unused);
}

// ---- changes ----------------------------------------------------------------------------------

ChangeAnswer Controller::change(Verb verb, std::vector<policy::Object> objects,
                                const PlanOptions& options, const Peer& peer) {
  Plan plan = store_.plan(verb, std::move(objects), options);
  for (const Change& change : plan.changes) {
    if (change.outcome != Outcome::kDeleted || change.id.kind != "Pod") continue;
    if (pods_.find(change.id.ns, change.id.name) == nullptr) continue;
    plan.errors.push_back("pod \"" + change.id.name +
                          "\" was registered on this node: use `nodectl pod remove`");
  }
  return commit(std::move(plan), pods_.all(), peer);
}

ChangeAnswer Controller::commit(Plan plan, const std::vector<PodRegistration>& pods,
                                const Peer& peer) {
  ChangeAnswer answer;
  answer.changes = plan.changes;
  answer.errors = plan.errors;
  if (answer.is_refused()) return answer;
  const std::vector<policy::ObjectId> touched = ids_of(plan.changes);
  if (!plan.changes_anything() && pods == pods_.all()) {
    answer.warnings = statuses_.news(statuses_, touched);
    return answer;
  }
  Candidate candidate;
  candidate.held = held_;
  for (const policy::ObjectId& id : touched) candidate.held.erase(id.to_string());
  candidate.model = load(plan.objects, candidate.held, candidate.diagnostics);
  if (policy::has_errors(candidate.diagnostics)) {
    answer.diagnostics = std::move(candidate.diagnostics);
    return answer;
  }
  candidate.snapshot = compile(candidate.model);
  if (const auto failure = put_in_effect(plan, candidate, pods)) {
    log_error("a change by uid " + std::to_string(peer.uid) +
              " was rolled back: " + failure->to_string());
    answer.errors.push_back("nothing was changed: " + failure->to_string());
    return answer;
  }
  StatusBoard statuses(candidate.model, candidate.diagnostics, *candidate.snapshot, candidate.held);
  answer.warnings = statuses.news(statuses_, touched);
  statuses_ = std::move(statuses);
  model_ = std::move(candidate.model);
  diagnostics_ = std::move(candidate.diagnostics);
  held_ = std::move(candidate.held);
  store_.commit(std::move(plan));
  tell_policies();
  test_acceleration();
  log_changes(answer.changes, peer);
  return answer;
}

std::optional<Error> Controller::put_in_effect(const Plan& plan, Candidate& candidate,
                                               const std::vector<PodRegistration>& pods) {
  const std::shared_ptr<const policy::Snapshot> before = data_path_.current();
  auto installed = data_path_.install(candidate.snapshot);
  if (!installed) return std::move(installed).error();
  auto saved = save(plan.objects, plan.next_sequence, pods, candidate.snapshot->generation);
  if (saved) return std::nullopt;
  Error error = std::move(saved).error();
  auto put_back = data_path_.install(before);
  if (!put_back)
    error.hint = "putting the earlier policy back failed too: " + put_back.error().to_string();
  return error;
}

Result<void> Controller::save(const std::vector<policy::Object>& objects, uint64_t next_sequence,
                              const std::vector<PodRegistration>& pods, uint64_t generation) {
  if (state_ == nullptr) return ok();
  return state_->save(to_json_text({generation, next_sequence, objects, pods, guard_.settings()}));
}

void Controller::tell_policies() const {
  if (watcher_ == nullptr) return;
  std::vector<PolicyNote> notes;
  for (const policy::Object& object : store_.objects()) {
    const ObjectStatus& status = statuses_.of(object.id);
    notes.push_back({object.id.kind, object.id.ns, object.id.name, to_text(status), status.reason,
                     status.warnings, status.hosts});
  }
  watcher_->on_policies(std::move(notes));
}

bool Controller::asks_acceleration() const {
  return std::any_of(model_.traffic.begin(), model_.traffic.end(),
                     [](const policy::HostTraffic& one) { return one.asks_acceleration; });
}

// Once, when the first policy asks; nobody waits for it, because nothing depends on it.
void Controller::test_acceleration() {
  if (acceleration_ == nullptr || !asks_acceleration()) return;
  if (acceleration_->state().phase != AccelerationState::Phase::kUntested) return;
  const Result<void> started = acceleration_->start();
  if (!started) log_warn("acceleration: " + started.error().to_string());
}

void Controller::log_changes(const std::vector<Change>& changes, const Peer& peer) const {
  for (const Change& change : changes) {
    if (change.outcome == Outcome::kUnchanged) continue;
    log_info("policy: " + change.id.to_string() + " " + std::string(to_text(change.outcome)) +
             " by uid " + std::to_string(peer.uid) + " pid " + std::to_string(peer.pid) +
             ", generation " + std::to_string(generation_));
  }
}

Result<void> Controller::set_dns(policy::DnsAnswers answers) {
  if (answers == dns_) return ok();
  policy::DnsAnswers before = std::exchange(dns_, std::move(answers));
  const auto snapshot = compile(model_);
  auto installed = data_path_.install(snapshot);
  if (!installed) {
    dns_ = std::move(before);
    return installed;
  }
  statuses_ = StatusBoard(model_, diagnostics_, *snapshot, held_);
  tell_policies();
  return ok();
}

// ---- pods -------------------------------------------------------------------------------------

// The pod's object comes into effect before its traffic is captured: the shards then know the
// caller of the first captured connection.
ChangeAnswer Controller::add_pod(const PodRegistration& pod, const Peer& peer) {
  if (auto checked = check_registration(pod); !checked) return refused(checked.error().to_string());
  if (const PodRegistration* other = pods_.find_conflict(pod)) {
    return refused("pod \"" + other->ns + "/" + other->name +
                   "\" has the same address or interface: remove it first");
  }
  PodBefore before;
  if (const PodRegistration* known = pods_.find(pod.ns, pod.name)) before.registration = *known;
  const policy::Object* object = store_.find({"", "Pod", pod.ns, pod.name});
  if (object != nullptr) before.object = *object;

  Plan plan = store_.plan(Verb::kApply, {pod_object(pod)}, {false, wall_clock_ns()});
  ChangeAnswer answer = commit(std::move(plan), with(pods_.all(), pod), peer);
  if (answer.is_refused()) return answer;
  if (before.registration && before.registration->ifname != pod.ifname) {
    // The old interface may be gone; attaching the new one is what counts.
    if (auto detached = pods_.detach(*before.registration); !detached) {
      log_warn("pod " + pod.ns + "/" + pod.name + ": " + detached.error().to_string());
    }
  }
  pods_.put(pod);
  auto attached = pods_.attach(pod, *data_path_.current());
  if (attached) return answer;
  ChangeAnswer failed = refused(attached.error().to_string());
  undo_add_pod(pod, before, peer, failed);
  return failed;
}

void Controller::undo_add_pod(const PodRegistration& pod, const PodBefore& before, const Peer& peer,
                              ChangeAnswer& failed) {
  pods_.erase(pod.ns, pod.name);
  if (before.registration) pods_.put(*before.registration);
  Plan undo = before.object ? store_.plan(Verb::kApply, {*before.object}, {false, wall_clock_ns()})
                            : store_.plan(Verb::kDelete, {pod_object(pod)}, {true, 0});
  const ChangeAnswer undone = commit(std::move(undo), pods_.all(), peer);
  failed.errors.insert(failed.errors.end(), undone.errors.begin(), undone.errors.end());
  // The registration may differ from the saved one although the object does not.
  auto saved = save(store_.objects(), store_.next_sequence(), pods_.all(), generation_);
  if (!saved) failed.errors.push_back(saved.error().to_string());
  if (!before.registration || before.registration->detached) return;
  if (auto again = pods_.attach(*before.registration, *data_path_.current()); !again) {
    failed.errors.push_back("the earlier registration: " + again.error().to_string());
  }
}

ChangeAnswer Controller::remove_pod(const std::string& ns, const std::string& name,
                                    const Peer& peer) {
  const PodRegistration* known = pods_.find(ns, name);
  if (known == nullptr) {
    return refused("pod \"" + name + "\" in namespace \"" + ns + "\" is not registered");
  }
  const PodRegistration pod = *known;
  if (auto detached = pods_.detach(pod); !detached) return refused(detached.error().to_string());
  Plan plan = store_.plan(Verb::kDelete, {pod_object(pod)}, {true, 0});
  ChangeAnswer answer = commit(std::move(plan), without(pods_.all(), ns, name), peer);
  if (answer.is_refused()) {
    auto again = pods_.attach(pod, *data_path_.current());
    if (!again) answer.errors.push_back(again.error().to_string());
    return answer;
  }
  pods_.erase(ns, name);
  return answer;
}

Result<void> Controller::detach_all(const Peer& peer) {
  NP_TRY(pods_.detach_all());
  guard_.forget_places();
  log_info("capture detached from every pod by uid " + std::to_string(peer.uid));
  return save(store_.objects(), store_.next_sequence(), pods_.all(), generation_);
}

}  // namespace np::control
