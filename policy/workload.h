// SPDX-License-Identifier: Apache-2.0
// Which workload a pod belongs to, by the labels that Istio and Kubernetes give it. What is limited
// or counted "per workload" is so by these names, in every place.
#pragma once

#include <string>

#include "policy/model_base.h"

namespace np::policy {

struct Workload {
  std::string app;      // Istio's canonical service; empty: the labels do not say
  std::string version;  // Istio's canonical revision; empty: the labels do not say
  std::string name;     // app, else what owns the pod, else the pod itself: never empty for a pod
};

// Canonical names as Istio reads them: service.istio.io/canonical-name, app.kubernetes.io/name, app
// (and k8s-app); service.istio.io/canonical-revision, app.kubernetes.io/version, version. The owner
// is told by what Kubernetes' controllers write on their pods: pod-template-hash (Deployment),
// controller-revision-hash (DaemonSet), apps.kubernetes.io/pod-index or
// statefulset.kubernetes.io/pod-name (StatefulSet), job-name (Job).
Workload workload_of(const Labels& labels, const std::string& pod_name);

}  // namespace np::policy
