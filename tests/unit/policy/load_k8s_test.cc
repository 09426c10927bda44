// SPDX-License-Identifier: Apache-2.0
// Kubernetes core kinds, as `kubectl get -o yaml` prints them.
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

TEST(PolicyLoadK8s, AServiceWithAllThatActs) {
  Loaded got = load(R"(apiVersion: v1
kind: Service
metadata:
  name: reviews
  namespace: prod
  creationTimestamp: "2026-01-01T00:00:00Z"
  labels: {app: reviews}
  annotations:
    nodeproxy.dev/fail-mode: closed
    nodeproxy.dev/source: pod
    other.example.com/x: "1"
spec:
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, "fd00::7"]
  internalTrafficPolicy: Cluster
  sessionAffinity: None
  selector: {app: reviews}
  ports:
  - {name: http-web, port: 80, targetPort: web, protocol: TCP}
  - {name: db, port: 3306, targetPort: 3307, appProtocol: mysql}
  - {name: dns, port: 53, protocol: UDP}
status: {loadBalancer: {}}
)");
  ASSERT_EQ(got.model.services.size(), 1U) << got.text();
  EXPECT_TRUE(got.diagnostics.empty()) << got.text();
  const Service& service = got.model.services[0];
  EXPECT_EQ(service.host, "reviews.prod.svc.cluster.local");
  ASSERT_EQ(service.addresses.size(), 2U);
  EXPECT_EQ(service.addresses[1].to_string(), "fd00::7");
  EXPECT_EQ(service.fail_mode, FailMode::kClosed);
  EXPECT_TRUE(service.source_pod);
  EXPECT_EQ(service.selector.at("app"), "reviews");
  ASSERT_EQ(service.ports.size(), 3U);
  EXPECT_EQ(service.ports[0].protocol, Protocol::kHttp);
  EXPECT_EQ(service.ports[0].target_port_name, "web");
  EXPECT_EQ(service.ports[1].protocol, Protocol::kTcp);
  EXPECT_EQ(service.ports[1].target_port, 3307);
  EXPECT_EQ(service.ports[2].protocol, Protocol::kUdp);
  EXPECT_EQ(service.origin.line, 1);
}

TEST(PolicyLoadK8s, AHeadlessServiceHasNoAddress) {
  Loaded got = load(object_of("v1", "Service", "clusterIP: None\nclusterIPs: [None]\n"));
  ASSERT_EQ(got.model.services.size(), 1U) << got.text();
  EXPECT_TRUE(got.model.services[0].addresses.empty());
}

TEST(PolicyLoadK8s, UsedFieldsOfTheWrongTypeAreErrorsOnTheirLines) {
  Loaded got = load(R"(apiVersion: v1
kind: Service
metadata:
  name: s
  annotations:
    nodeproxy.dev/fail-mode: shut
    nodeproxy.dev/fial-mode: open
spec:
  clusterIP: 10.0.0.300
  ports:
  - name: a
    port: "80"
  - port: 81
  - name: a
    port: 82
    protocol: tcp
  selector: [a]
)");
  EXPECT_TRUE(got.model.services.empty());
  EXPECT_TRUE(got.says("f.yaml:6: Service default/s: ", "found shut; allowed: open, closed"));
  EXPECT_TRUE(got.says("f.yaml:7: Service default/s: ", "unknown annotation of nodeproxy.dev"));
  EXPECT_TRUE(got.says("f.yaml:9: Service default/s: spec.clusterIP: ", "not an IP address"));
  EXPECT_TRUE(got.says("f.yaml:12: Service default/s: spec.ports[0].port: ",
                       "whole number without quotes"));
  EXPECT_TRUE(got.says("f.yaml:13: Service default/s: spec.ports[1]: ", "needs a name"));
  EXPECT_TRUE(got.says("f.yaml:14: Service default/s: spec.ports[2]: ", "this name: found a"));
  EXPECT_TRUE(got.says("f.yaml:16: Service default/s: spec.ports[2].protocol: ",
                       "found tcp; allowed: TCP, UDP, SCTP"));
  EXPECT_TRUE(got.says("f.yaml:17: Service default/s: spec.selector: ", "a map is required"))
      << got.text();
}

TEST(PolicyLoadK8s, AnExternalNameIsNotInEffect) {
  Loaded got =
      load(object_of("v1", "Service", "type: ExternalName\nexternalName: a.example.com\n"));
  EXPECT_TRUE(got.model.services.empty());
  EXPECT_TRUE(got.says("f.yaml:4: ", "not yet in effect: a Service of type ExternalName"));
}

TEST(PolicyLoadK8s, ARealPod) {
  Loaded got = load(R"(apiVersion: v1
kind: Pod
metadata:
  name: reviews-v1-abc
  generateName: reviews-v1-
  labels: {app: reviews, version: v1, pod-template-hash: 545db77b95}
  ownerReferences: [{kind: ReplicaSet, name: reviews-v1}]
spec:
  serviceAccountName: bookinfo-reviews
  containers:
  - name: reviews
    image: docker.io/istio/examples-bookinfo-reviews-v1
    env: [{name: LOG_DIR, value: /tmp/logs}]
    ports: [{containerPort: 9080, name: web, protocol: TCP}, {containerPort: 9090}]
  tolerations: [{effect: NoExecute, tolerationSeconds: 300}]
status:
  phase: Running
  podIP: 10.0.0.4
  podIPs: [{ip: 10.0.0.4}, {ip: "fd00::4"}]
  conditions:
  - {type: PodScheduled, status: "True"}
  - {type: Ready, status: "False"}
)");
  ASSERT_EQ(got.model.pods.size(), 1U) << got.text();
  const Pod& pod = got.model.pods[0];
  EXPECT_EQ(pod.ips.size(), 2U);
  EXPECT_EQ(pod.named_ports.at("web"), 9080);
  EXPECT_EQ(pod.named_ports.size(), 1U);
  EXPECT_EQ(pod.service_account, "bookinfo-reviews");
  EXPECT_FALSE(pod.ready);
  EXPECT_FALSE(pod.host_network);
}

TEST(PolicyLoadK8s, APodWrittenByHandIsReady) {
  Loaded got = load("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIP: 10.0.0.9}\n");
  ASSERT_EQ(got.model.pods.size(), 1U) << got.text();
  EXPECT_TRUE(got.model.pods[0].ready);
  got = load(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: p, deletionTimestamp: \"2026-01-01\"}\n"
      "spec: {hostNetwork: true}\nstatus: {phase: Running, podIP: 10.0.0.9}\n");
  ASSERT_EQ(got.model.pods.size(), 1U) << got.text();
  EXPECT_FALSE(got.model.pods[0].ready);
  EXPECT_TRUE(got.model.pods[0].host_network);
}

TEST(PolicyLoadK8s, AnUnquotedLabelThatIsANumberIsRefused) {
  Loaded got =
      load("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels:\n    version: 2.0\n");
  EXPECT_TRUE(got.says("f.yaml:6: Pod default/p: metadata.labels.version: ",
                       "write it in quotes: found 2.0; allowed: \"2.0\""))
      << got.text();
  EXPECT_FALSE(has_errors(
      load("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {version: \"2.0\"}}\n")
          .diagnostics));
}

TEST(PolicyLoadK8s, EndpointsOfBothForms) {
  Loaded got = load(R"(apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets:
- addresses: [{ip: 10.0.0.1, targetRef: {kind: Pod, name: a}}]
  notReadyAddresses: [{ip: 10.0.0.2}]
  ports: [{name: tcp, port: 3306, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 80}]
endpoints:
- addresses: [10.0.0.3]
  conditions: {ready: false}
- addresses: [10.0.0.4]
  conditions: {}
)");
  ASSERT_EQ(got.model.endpoints.size(), 4U) << got.text();
  EXPECT_EQ(got.model.endpoints[0].host, "db.default.svc.cluster.local");
  EXPECT_EQ(got.model.endpoints[0].ports.at("tcp"), 3306);
  EXPECT_TRUE(got.model.endpoints[0].ready);
  EXPECT_FALSE(got.model.endpoints[1].ready);
  EXPECT_EQ(got.model.endpoints[2].host, "web.default.svc.cluster.local");
  EXPECT_FALSE(got.model.endpoints[2].ready);
  EXPECT_TRUE(got.model.endpoints[3].ready);
  EXPECT_EQ(got.model.endpoints[3].ports.at(""), 80);
}

TEST(PolicyLoadK8s, BadEndpoints) {
  Loaded got = load(R"(apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets:
- addresses:
  - ip: nowhere
  - {}
  ports:
  - port: 99999
)");
  EXPECT_TRUE(got.says("f.yaml:6: Endpoints default/db: subsets[0].addresses[0].ip: ",
                       "not an IP address"));
  EXPECT_TRUE(got.says("f.yaml:7: Endpoints default/db: subsets[0].addresses[1].ip: ", "missing"));
  EXPECT_TRUE(got.says("f.yaml:9: Endpoints default/db: subsets[0].ports[0].port: ", "1..65535"))
      << got.text();
  got = load("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\n");
  EXPECT_TRUE(got.says("f.yaml:3: ", "label kubernetes.io/service-name is required"));
}

}  // namespace
}  // namespace np::policy
