// SPDX-License-Identifier: Apache-2.0
#include "kernel/capture_side.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "kernel/pin_versions.h"

namespace np::kernel {

namespace {

constexpr const char* kReturnPin = "np_ret_in";
constexpr Duration kSweepEvery = std::chrono::seconds(1);
constexpr Duration kSweepEveryWhenFull = std::chrono::milliseconds(100);
constexpr uint32_t kPodSweepEvery = 5;  // flow sweeps per look at interfaces

HookPoint return_point(const Loader& loader, uint32_t np0) {
  return HookPoint{np0, loader.link_pin(kReturnPin), "np_ret_in"};
}

ProbeRow limit_row(const char* name, int resource, const char* unit, rlim_t wanted,
                   const char* cost) {
  rlimit limit{};
  ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  ProbeRow row{name, limit.rlim_cur >= wanted, "", true};
  row.note =
      limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur) + " " + unit;
  if (!row.found) row.note += std::string(": ") + cost;
  return row;
}

}  // namespace

std::string to_text(const ProbeRow& row) {
  const char* verdict = row.found ? "ok       " : row.is_limit ? "low      " : "missing  ";
  return verdict + row.feature + ": " + row.note;
}

std::vector<ProbeRow> probe_process() {
  return {
      limit_row("open files", RLIMIT_NOFILE, "fds", 65536,
                "caps on connections are derived from it"),
      limit_row("locked memory", RLIMIT_MEMLOCK, "bytes", 64U * 1024 * 1024,
                "rings are smaller; they say so when it does not suffice"),
  };
}

Result<std::unique_ptr<CaptureSide>> CaptureSide::start(const SupervisorOptions& options) {
  NP_TRY_ASSIGN(InstanceNames names, name_instance(options.instance, options.bpffs));
  std::unique_ptr<CaptureSide> side(new CaptureSide(std::move(names)));
  NP_TRY(side->build(options));
  return side;
}

CaptureSide::~CaptureSide() {
  if (live_ != nullptr) ::munmap(live_, static_cast<size_t>(::sysconf(_SC_PAGESIZE)));
}

Result<void> CaptureSide::build(const SupervisorOptions& options) {
  probe_ = probe_process();
  NP_TRY_ASSIGN(const Hook hook, choose_hook(options.hook));
  NP_TRY_ASSIGN(loader_, Loader::load(names_));
  probe_.push_back(
      {"eBPF programs and maps", true,
       "redirect_peer, sk_lookup, syscall programs; pinned in " + loader_->pin_root()});
  NP_TRY_ASSIGN(ProxyNetns proxy, ProxyNetns::open_or_create(names_));
  proxy_ = std::make_unique<ProxyNetns>(std::move(proxy));
  probe_.push_back({"IPv6", proxy_->has_v6(),
                    proxy_->has_v6() ? "yes" : "IPv4 only: IPv6 connections go direct"});
  NP_TRY(map_live());
  NP_TRY_ASSIGN(np_config config, loader_->read_config());
  config.hb_timeout_ns = static_cast<uint64_t>(options.heartbeat_timeout.count());
  proxy_->describe(&config);
  config.default_fail = NP_FAIL_OPEN;
  config.k_listeners = NP_LISTENERS_PER_FAMILY;
  config.band_lo = 1;  // none until a policy asks for `source: pod`
  config.band_hi = 0;
  NP_TRY(loader_->write_config(config));
  NP_TRY(loader_->attach_pick(proxy_->fd()));
  NP_TRY(attach_return_leg(hook));
  NP_TRY_ASSIGN(listeners_, ListenerSet::open(*proxy_));
  NP_TRY(listeners_.fill(loader_->map_fd(Map::kListeners)));
  pods_ = std::make_unique<PodTable>(*loader_, hook);
  guards_ = std::make_unique<GuardTable>(*loader_, hook);
  NP_TRY(pods_->adopt());
  return guards_->adopt();
}

Result<Hook> CaptureSide::choose_hook(HookChoice choice) {
  const bool tcx = has_tcx();
  if (choice == HookChoice::kTcx && !tcx) {
    return Error{ErrorCode::kUnsupported, "attach by tcx", "this kernel has none (needs 6.6)",
                 "use --hook clsact"};
  }
  const Hook hook = tcx && choice != HookChoice::kClsact ? Hook::kTcx : Hook::kClsact;
  const char* missing = "clsact is used: a tc filter with a lower priority number runs first";
  const char* unused = "yes, but --hook clsact was asked for";
  probe_.push_back({"tcx", tcx, !tcx ? missing : hook == Hook::kTcx ? "yes" : unused});
  return hook;
}

Result<void> CaptureSide::attach_return_leg(Hook hook) {
  return attach_hook(hook, return_point(*loader_, proxy_->np0_ifindex()),
                     loader_->program_fd(Program::kRetIn));
}

Result<void> CaptureSide::map_live() {
  void* page = ::mmap(nullptr, static_cast<size_t>(::sysconf(_SC_PAGESIZE)), PROT_READ | PROT_WRITE,
                      MAP_SHARED, loader_->map_fd(Map::kLive), 0);
  if (page == MAP_FAILED) return system_error(errno, "map np_live");
  live_ = static_cast<np_live*>(page);
  return ok();
}

void CaptureSide::stop_capturing() {
  listeners_.clear(loader_->map_fd(Map::kListeners));
}

Result<void> CaptureSide::set_band(uint16_t low, uint16_t high) {
  NP_TRY_ASSIGN(np_config config, loader_->read_config());
  config.band_lo = high == 0 ? 1 : low;
  config.band_hi = high;
  return loader_->write_config(config);
}

Result<PodRecord> CaptureSide::attach_pod(const PodRequest& request) {
  if (!guards_->has(request.ifname)) return pods_->attach(request);
  return Error{ErrorCode::kConflict, "attach pod " + request.name,
               "interface " + request.ifname + " carries the admission guard of an uplink",
               "`nodectl guard detach " + request.ifname + "` if it is the pod's"};
}

Result<GuardRecord> CaptureSide::attach_guard(const std::string& ifname, GuardMode mode,
                                              bool is_kept) {
  const std::string what = "guard " + ifname;
  if (ifname == names_.np0) {
    return Error{ErrorCode::kUnsupported, what, "it leads into the proxy's own namespace",
                 "the guard belongs on an uplink"};
  }
  for (const PodRecord& pod : pods_->list()) {
    if (pod.request.ifname != ifname) continue;
    return Error{ErrorCode::kUnsupported, what, "it is the interface of pod " + pod.request.name,
                 "XDP there halves the pod's throughput, and pods have caps of their own; the "
                 "guard belongs on an uplink"};
  }
  return guards_->attach(ifname, mode, is_kept);
}

Duration CaptureSide::sweep() {
  if (is_detached_) return kSweepEvery;
  Result<SweepResult> result = loader_->sweep(SweepTimes{});
  if (!result) {
    log_warn(result.error().to_string());
    return kSweepEvery;
  }
  const uint64_t used = result->live + result->closed;
  if (used > NP_FLOWS_MAX / 4 * 3 && result->closed > 0) {
    // Closed records give way before a new connection finds the table full.
    SweepTimes eager;
    eager.closed = used > NP_FLOWS_MAX / 8 * 7 ? Duration(1) : std::chrono::seconds(1);
    (void)loader_->sweep(eager);
  }
  if (++sweeps_ % kPodSweepEvery == 0) {
    pods_->sweep();
    guards_->sweep();
  }
  return used > NP_FLOWS_MAX / 2 ? kSweepEveryWhenFull : kSweepEvery;
}

Result<void> CaptureSide::detach_all() {
  if (is_detached_) return ok();
  NP_TRY(pods_->detach_all());
  NP_TRY(guards_->detach_all());
  stop_capturing();
  NP_TRY(detach_hook(return_point(*loader_, proxy_->np0_ifindex())));
  is_detached_ = true;
  NP_TRY(Loader::remove_pins(names_));
  return ProxyNetns::remove(names_);
}

NodeView CaptureSide::view() {
  pods_->sweep();
  guards_->sweep();
  NodeView view;
  view.names = names_;
  view.by_supervisor = true;
  view.pin_root = loader_->pin_root();
  for (const PinVersion& version : find_pin_versions(names_.pin_base)) {
    view.versions.push_back(version.number);
  }
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    view.maps[i] = loader_->map_fd(static_cast<Map>(i));
  }
  for (uint32_t i = 0; i < static_cast<uint32_t>(Program::kCount); ++i) {
    view.programs[i] = program_id(loader_->program_fd(static_cast<Program>(i)));
  }
  view.hook = pods_->hook();
  view.proxy_netns = proxy_->fd();
  view.np0_ifindex = proxy_->np0_ifindex();
  view.pods = pods_->list();
  view.guards = guards_->list();
  view.listeners = listeners_.sockets().size();
  if (const Result<np_config> config = loader_->read_config()) view.config = *config;
  view.live = *live_;
  return view;
}

Result<void> detach_instance(const SupervisorOptions& options) {
  NP_TRY_ASSIGN(const InstanceNames names, name_instance(options.instance, options.bpffs));
  // With links gone the kernel detaches tcx; clsact filters are found through the pods.
  Result<std::unique_ptr<Loader>> loader = Loader::load(names);
  if (loader) {
    PodTable pods(**loader, Hook::kClsact);
    NP_TRY(pods.adopt());
    NP_TRY(pods.detach_all());
    GuardTable guards(**loader, Hook::kClsact);
    NP_TRY(guards.adopt());
    NP_TRY(guards.detach_all());
  } else {
    log_warn("cannot read what is attached: " + loader.error().to_string());
  }
  NP_TRY(Loader::remove_pins(names));
  return ProxyNetns::remove(names);
}

}  // namespace np::kernel
