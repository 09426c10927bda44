// SPDX-License-Identifier: Apache-2.0
// IstioService: how config.istio.io names a service (traffic-semantics 1.2).
#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {
namespace {

std::optional<std::string> host_from_name(const Value& name, const Value& ns, const Value& domain,
                                          const LoadInput& input) {
  auto text = name.non_empty_string();
  auto ns_text = ns.non_empty_string();
  auto domain_text = domain.non_empty_string();
  if (!text) return std::nullopt;
  if (!is_dns_label(*text)) {
    name.error("not a short service name", shown(*text),
               "one name without dots; a full host name goes into `service`");
    return std::nullopt;
  }
  if (ns_text && !is_dns_label(*ns_text)) {
    ns.error("not a legal namespace", shown(*ns_text));
    return std::nullopt;
  }
  if (domain_text && !is_dns_subdomain(*domain_text)) {
    domain.error("not a legal domain", shown(*domain_text));
    return std::nullopt;
  }
  return *text + "." + ns_text.value_or(input.ns) + ".svc." +
         domain_text.value_or(std::string(kClusterDomain));
}

}  // namespace

std::optional<IstioService> read_istio_service(const Value& value, const LoadInput& input,
                                               LabelUse labels) {
  if (!value.present()) return std::nullopt;
  IstioService service;
  Fields fields(value);
  Value name = fields.get("name");
  Value full = fields.get("service");
  Value ns = fields.get("namespace");
  Value domain = fields.get("domain");
  Value label_map = fields.get("labels");
  service.labels = read_labels(label_map);
  if (labels == LabelUse::kRefused && !service.labels.empty()) {
    label_map.error("labels are not legal here");
  }
  if (!value.is_map()) return std::nullopt;
  if (name.present() == full.present()) {
    value.error(name.present() ? "only one of name and service may be set"
                               : "one of name and service is required",
                "", "name, service");
    return std::nullopt;
  }
  std::optional<std::string> host;
  if (name.present()) {
    host = host_from_name(name, ns, domain, input);
  } else {
    service.wildcard_service = true;
    if (ns.present() || domain.present()) {
      value.error("service is a full host name and excludes namespace and domain");
    }
    host = read_host(full, input.ns, Wildcard::kLeadingOrAll);
    // It counts as it stands: a short name is not completed.
    if (host && full.node()->scalar.find('.') == std::string::npos) {
      host = lower_case(full.node()->scalar);
    }
  }
  if (!host) return std::nullopt;
  service.host = *host;
  return service;
}

}  // namespace np::policy
