// SPDX-License-Identifier: Apache-2.0
#include "policy/workload.h"

#include <initializer_list>

namespace np::policy {
namespace {

std::string first_of(const Labels& labels, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto found = labels.find(key);
    if (found != labels.end() && !found->second.empty()) return found->second;
  }
  return {};
}

// "web-5d4f8c7b9-x2x7k" with "5d4f8c7b9" is "web"; anything else is left alone.
std::string before_part(const std::string& name, const std::string& part) {
  const size_t place = name.rfind("-" + part + "-");
  return place == std::string::npos ? name : name.substr(0, place);
}

std::string before_last_dash(const std::string& name) {
  const size_t dash = name.rfind('-');
  return dash == std::string::npos || dash == 0 ? name : name.substr(0, dash);
}

std::string owner_of(const Labels& labels, const std::string& pod) {
  const std::string template_hash = first_of(labels, {"pod-template-hash"});
  if (!template_hash.empty()) return before_part(pod, template_hash);
  const std::string job = first_of(labels, {"batch.kubernetes.io/job-name", "job-name"});
  if (!job.empty()) return job;
  // The name ends in an ordinal (StatefulSet) or in random letters (DaemonSet).
  const bool is_numbered = labels.contains("statefulset.kubernetes.io/pod-name") ||
                           labels.contains("apps.kubernetes.io/pod-index");
  const bool is_member = is_numbered || labels.contains("controller-revision-hash");
  return is_member ? before_last_dash(pod) : pod;
}

}  // namespace

Workload workload_of(const Labels& labels, const std::string& pod_name) {
  Workload workload;
  workload.app = first_of(
      labels, {"service.istio.io/canonical-name", "app.kubernetes.io/name", "app", "k8s-app"});
  workload.version = first_of(
      labels, {"service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"});
  workload.name = workload.app.empty() ? owner_of(labels, pod_name) : workload.app;
  return workload;
}

}  // namespace np::policy
