// SPDX-License-Identifier: Apache-2.0
// MixerNames: finds the objects that Mixer's rules and bindings name. Control thread; lives during
// one compile() and borrows the Model.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "policy/mixer_model.h"

namespace np::policy {

// "name.kind[.namespace]", taken apart; the namespace of whoever wrote it fills the gap.
struct InstanceName {
  std::string name, kind, ns;
  InstanceName(std::string_view written, std::string_view own_ns);
  // "memquota istio-system/handler"
  std::string to_string() const { return kind + " " + ns + "/" + name; }
};

class MixerNames {
 public:
  explicit MixerNames(const MixerModel& mixer);

  // Each null when there is no such object. memquota and redisquota are told apart by kind.
  const QuotaHandler* quota_handler(const InstanceName& name) const;
  const QuotaInstance* quota_instance(const InstanceName& name) const;
  const Denier* denier(const InstanceName& name) const;
  const CheckNothing* check_nothing(const InstanceName& name) const;
  const QuotaSpec* quota_spec(const std::string& ns, const std::string& name) const;

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // kind, namespace, name
  std::map<Key, const QuotaHandler*> quota_handlers_;
  std::map<Key, const QuotaInstance*> quota_instances_;
  std::map<Key, const Denier*> deniers_;
  std::map<Key, const CheckNothing*> check_nothings_;
  std::map<Key, const QuotaSpec*> quota_specs_;
};

// Whether a QuotaSpec's `quota` means this instance: "RequestCount" is "requestcount", with or
// without kind and namespace behind it.
bool means_quota(std::string_view written, const QuotaInstance& instance);

}  // namespace np::policy
