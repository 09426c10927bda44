// SPDX-License-Identifier: Apache-2.0
#include "proxy/pool.h"

namespace np::proxy {
namespace {

uint32_t whole_seconds(Duration duration) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(duration).count();
  return seconds < 1 ? 1 : static_cast<uint32_t>(seconds);
}

}  // namespace

size_t PoolKeyHash::operator()(const PoolKey& key) const {
  size_t hash = SocketAddressHash()(key.remote);
  hash = hash * 0x9e3779b97f4a7c15U + key.cluster_id * 2 + (key.opaque ? 1 : 0);
  hash = hash * 0x9e3779b97f4a7c15U + key.caller;
  if (!key.source.is_unspecified()) hash ^= IpAddressHash()(key.source) * 0xff51afd7ed558ccdU;
  return hash;
}

void Pool::configure(const policy::ConnectionPool& latest) {
  config.max_requests_per_connection = latest.max_requests_per_connection;
  config.connect_timeout = latest.connect_timeout;
  config.idle_timeout = latest.idle_timeout;
  config.max_connection_duration = latest.max_connection_duration;
  config.tcp_keepalive = latest.tcp_keepalive;
}

ConnectTarget Pool::target() const {
  ConnectTarget target;
  target.remote = key.remote;
  target.source_pod = !key.source.is_unspecified();
  target.source_ip = key.source;
  target.abort_on_crash = key.opaque;
  target.cluster_id = key.cluster_id;
  target.caller = key.caller;
  if (config.tcp_keepalive) {
    target.keepalive = true;
    target.keepalive_probes = config.tcp_keepalive->probes;
    target.keepalive_time_s = whole_seconds(config.tcp_keepalive->time);
    target.keepalive_interval_s = whole_seconds(config.tcp_keepalive->interval);
  }
  return target;
}

bool Pool::is_empty() const {
  return connections == 0 && leaving == 0 && pending.empty() && !touched;
}

Pool& Pools::get(const PoolKey& key) {
  auto found = pools_.find(key);
  if (found == pools_.end()) found = pools_.emplace(key, std::make_unique<Pool>(key)).first;
  return *found->second;
}

Pool* Pools::find(const PoolKey& key) {
  const auto found = pools_.find(key);
  return found == pools_.end() ? nullptr : found->second.get();
}

void Pools::drop_if_empty(Pool& pool) {
  if (pool.is_empty()) pools_.erase(pool.key);
}

}  // namespace np::proxy
