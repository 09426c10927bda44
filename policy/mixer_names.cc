// SPDX-License-Identifier: Apache-2.0
#include "policy/mixer_names.h"

#include "base/field.h"

namespace np::policy {

namespace {

template <typename Map>
auto find(const Map& map, const typename Map::key_type& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : found->second;
}

template <typename T, typename Map>
void index(const std::vector<T>& objects, Map& out) {
  for (const T& object : objects) {
    const Origin& origin = object.origin;
    out.try_emplace({origin.kind, origin.ns, origin.name}, &object);
  }
}

}  // namespace

InstanceName::InstanceName(std::string_view written, std::string_view own_ns) : ns(own_ns) {
  const size_t dot = written.find('.');
  name = written.substr(0, dot);
  if (dot == std::string_view::npos) return;
  written.remove_prefix(dot + 1);
  const size_t next = written.find('.');
  kind = written.substr(0, next);
  if (next != std::string_view::npos) ns = written.substr(next + 1);
}

MixerNames::MixerNames(const MixerModel& mixer) {
  index(mixer.quota_handlers, quota_handlers_);
  index(mixer.quota_instances, quota_instances_);
  index(mixer.deniers, deniers_);
  index(mixer.check_nothings, check_nothings_);
  index(mixer.quota_specs, quota_specs_);
}

const QuotaHandler* MixerNames::quota_handler(const InstanceName& name) const {
  return find(quota_handlers_, {name.kind, name.ns, name.name});
}
const QuotaInstance* MixerNames::quota_instance(const InstanceName& name) const {
  return find(quota_instances_, {name.kind, name.ns, name.name});
}
const Denier* MixerNames::denier(const InstanceName& name) const {
  return find(deniers_, {name.kind, name.ns, name.name});
}
const CheckNothing* MixerNames::check_nothing(const InstanceName& name) const {
  return find(check_nothings_, {name.kind, name.ns, name.name});
}
const QuotaSpec* MixerNames::quota_spec(const std::string& ns, const std::string& name) const {
  return find(quota_specs_, {"QuotaSpec", ns, name});
}

bool means_quota(std::string_view written, const QuotaInstance& instance) {
  const Origin& origin = instance.origin;
  return equals_ignoring_case(written, origin.name) ||
         equals_ignoring_case(written, origin.name + ".quota") ||
         equals_ignoring_case(written, origin.name + ".quota." + origin.ns);
}

}  // namespace np::policy
