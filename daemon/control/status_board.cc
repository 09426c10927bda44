// SPDX-License-Identifier: Apache-2.0
#include "control/status_board.h"

#include <algorithm>
#include <set>

namespace np::control {
namespace {

std::string without_object(const policy::Diagnostic& diagnostic) {
  std::string text = diagnostic.field;
  if (!text.empty()) text += ": ";
  text += diagnostic.message;
  if (!diagnostic.found.empty()) text += ": found " + diagnostic.found;
  if (!diagnostic.allowed.empty()) text += "; allowed: " + diagnostic.allowed;
  return text;
}

void append(std::string& list, std::string_view text) {
  if (list.find(text) != std::string::npos) return;
  if (!list.empty()) list += "; ";
  list += text;
}

void take_diagnostic(ObjectStatus& status, const policy::Diagnostic& diagnostic) {
  if (diagnostic.level == policy::Diagnostic::Level::kNotInEffect) {
    status.state = ObjectStatus::State::kNotYetInEffect;
    append(status.reason, diagnostic.message);
  } else if (diagnostic.level == policy::Diagnostic::Level::kWarning) {
    status.warnings.push_back(without_object(diagnostic));
  }
}

void take_finding(ObjectStatus& status, const policy::Finding& finding) {
  if (finding.level == policy::Finding::Level::kInactive) {
    status.state = ObjectStatus::State::kInactive;
    append(status.reason, finding.message);
  } else if (finding.level == policy::Finding::Level::kScope) {
    status.scope = finding.message;
  } else {
    status.warnings.push_back(finding.message);
  }
}

}  // namespace

std::string_view to_text(ObjectStatus::State state) {
  switch (state) {
    case ObjectStatus::State::kInEffect:
      return "in effect";
    case ObjectStatus::State::kNotYetInEffect:
      return "not yet in effect";
    case ObjectStatus::State::kInactive:
      return "inactive";
    case ObjectStatus::State::kRefused:
      return "refused";
  }
  return "";
}

std::string to_text(const ObjectStatus& status) {
  std::string text(to_text(status.state));
  if (status.state == ObjectStatus::State::kInEffect && !status.scope.empty()) {
    text += ", " + status.scope;
  }
  return text;
}

StatusBoard::StatusBoard(const policy::Model& model, const policy::Diagnostics& diagnostics,
                         const policy::Snapshot& snapshot, const Held& held) {
  add_hosts(model);
  for (const policy::Diagnostic& diagnostic : diagnostics) {
    take_diagnostic(statuses_[diagnostic.object], diagnostic);
  }
  for (const policy::Finding& finding : snapshot.findings) {
    take_finding(statuses_[finding.origin.to_string()], finding);
  }
  for (const auto& [object, reason] : held) {
    ObjectStatus& status = statuses_[object];
    status.state = ObjectStatus::State::kRefused;
    status.reason = reason;
  }
}

void StatusBoard::add_hosts(const policy::Model& model) {
  const auto add = [this](const policy::Origin& origin, const std::string& host) {
    std::vector<std::string>& hosts = statuses_[origin.to_string()].hosts;
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
  };
  for (const policy::Service& service : model.services) add(service.origin, service.host);
  for (const policy::StaticEndpoint& endpoint : model.endpoints) {
    add(endpoint.origin, endpoint.host);
  }
  for (const policy::RouteSet& routes : model.routes) {
    for (const std::string& host : routes.hosts) add(routes.origin, host);
  }
  for (const policy::DestinationPolicy& policy : model.destinations)
    add(policy.origin, policy.host);
  for (const policy::HostTraffic& traffic : model.traffic) add(traffic.origin, traffic.host);
  for (const policy::RateLimit& limit : model.rate_limits) {
    for (const policy::RateLimit::Target& target : limit.services) add(limit.origin, target.host);
  }
  for (const policy::QuotaSpecBinding& binding : model.mixer.quota_spec_bindings) {
    for (const policy::QuotaSpecBinding::Target& target : binding.services) {
      add(binding.origin, target.host);
    }
  }
  for (const policy::Gateway& gateway : model.gateways) {
    for (const policy::GatewayServer& server : gateway.servers) {
      for (const std::string& host : server.hosts) add(gateway.origin, host);
    }
  }
}

const ObjectStatus& StatusBoard::of(const policy::ObjectId& id) const {
  static const ObjectStatus in_effect;
  const auto at = statuses_.find(id.to_string());
  return at == statuses_.end() ? in_effect : at->second;
}

std::vector<std::string> StatusBoard::news(const StatusBoard& before,
                                           const std::vector<policy::ObjectId>& touched) const {
  std::set<std::string> asked;
  for (const policy::ObjectId& id : touched) asked.insert(id.to_string());
  std::vector<std::string> lines;
  for (const auto& [object, status] : statuses_) {
    const auto old = before.statuses_.find(object);
    const ObjectStatus nothing;
    const ObjectStatus& was = old == before.statuses_.end() ? nothing : old->second;
    const bool was_asked = asked.contains(object);
    for (const std::string& warning : status.warnings) {
      const bool known = std::count(was.warnings.begin(), was.warnings.end(), warning) > 0;
      if (was_asked || !known) lines.push_back(object + ": " + warning);
    }
    if (status.state == ObjectStatus::State::kInactive &&
        (was_asked || was.state != ObjectStatus::State::kInactive)) {
      lines.push_back(object + " is inactive: " + status.reason);
    }
  }
  return lines;
}

}  // namespace np::control
