// SPDX-License-Identifier: Apache-2.0
#include "kernel/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <np_capture.skel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "base/log.h"
#include "kernel/hook.h"
#include "kernel/kernel_maps.h"
#include "kernel/layout_move.h"
#include "kernel/pin_versions.h"

namespace np::kernel {

namespace {

constexpr const char* kProgramNames[] = {"np_pod_in", "np_pod_out", "np_ret_in", "np_pick",
                                         "np_sweep",  "np_note",    "np_guard",  "np_guard_tc"};
static_assert(std::size(kProgramNames) == static_cast<size_t>(Program::kCount));
constexpr size_t kLogBytesMax = 2048;

// The end of what libbpf said: the cause of a failed load. One process, one thread loads.
std::string g_libbpf_log;

int keep_log(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[1024];
  std::vsnprintf(line, sizeof(line), format, arguments);
  g_libbpf_log += line;
  if (g_libbpf_log.size() > kLogBytesMax) {
    g_libbpf_log.erase(0, g_libbpf_log.size() - kLogBytesMax);
  }
  return 0;
}

Error load_error(int errno_value, std::string what) {
  Error error = system_error(errno_value, std::move(what));
  if (errno_value == EPERM) error.hint = "needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN";
  if (!g_libbpf_log.empty()) error.detail += ": " + g_libbpf_log;
  return error;
}

// 0: no such pin, or its namespace is gone.
uint64_t pinned_netns_inode(const std::string& pin) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  bpf_link_info info{};
  uint32_t size = sizeof(info);
  if (!link.is_open() || ::bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) return 0;
  return info.netns.netns_ino;
}

}  // namespace

const char* program_name(Program program) {
  return kProgramNames[static_cast<size_t>(program)];
}

Result<std::unique_ptr<Loader>> Loader::load(const InstanceNames& names) {
  std::unique_ptr<Loader> loader(new Loader(names));
  ::libbpf_set_print(keep_log);
  g_libbpf_log.clear();
  NP_TRY(loader->open_object());
  NP_TRY(loader->choose_version());
  NP_TRY(make_pin_directories(names.pin_base, loader->pin_root_));
  Result<void> loaded = loader->load_object();
  if (loaded) loaded = loader->take_over_sources();
  if (!loaded) return std::move(loaded).error();
  NP_TRY(loader->pin_programs());
  return loader;
}

Loader::~Loader() {
  np_capture__destroy(skeleton_);
}

Result<void> Loader::open_object() {
  skeleton_ = np_capture__open();
  if (skeleton_ == nullptr) return load_error(errno, "open the built-in eBPF object");
  return ok();
}

// Whether every map that is pinned there could be one of ours.
bool Loader::fits_own_maps(const std::string& pin_root) const {
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    const char* name = map_name(static_cast<Map>(i));
    const Fd pinned(::bpf_obj_get((pin_root + "/maps/" + name).c_str()));
    if (!pinned.is_open()) continue;
    const bpf_map* own = ::bpf_object__find_map_by_name(skeleton_->obj, name);
    NP_CHECK(own != nullptr);
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (::bpf_obj_get_info_by_fd(pinned.get(), &info, &size) != 0) return false;
    if (info.type != ::bpf_map__type(own) || info.key_size != ::bpf_map__key_size(own) ||
        info.value_size != ::bpf_map__value_size(own) ||
        info.max_entries != ::bpf_map__max_entries(own) ||
        info.map_flags != ::bpf_map__map_flags(own)) {
      return false;
    }
  }
  return true;
}

// kNone: no daemon ever finished its start there.
Result<Loader::Layout> Loader::layout_of(const std::string& pin_root) const {
  const std::string path = pin_root + "/maps/np_config";
  const Fd map(::bpf_obj_get(path.c_str()));
  if (!map.is_open() && errno == ENOENT) return Layout::kNone;
  if (!map.is_open()) return system_error(errno, "open " + path);
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(map.get(), &info, &size) != 0) {
    return system_error(errno, "read " + path);
  }
  std::vector<char> value(std::max<size_t>(info.value_size, sizeof(np_config)));
  const uint32_t zero = 0;
  if (::bpf_map_lookup_elem(map.get(), &zero, value.data()) != 0) {
    return system_error(errno, "read " + path);
  }
  uint32_t abi = 0;  // comes first in every version
  std::memcpy(&abi, value.data(), sizeof(abi));
  if (abi == 0) return Layout::kNone;
  return abi == NP_ABI_VERSION && fits_own_maps(pin_root) ? Layout::kOwn : Layout::kOther;
}

Result<void> Loader::choose_version() {
  const std::vector<PinVersion> found = find_pin_versions(names_.pin_base);
  uint32_t newest = 0;
  Layout newest_layout = Layout::kNone;
  for (const PinVersion& version : found) {
    NP_TRY_ASSIGN(Layout layout, layout_of(version.path));
    if (layout == Layout::kNone) {
      const bool is_first_start = found.size() == 1 && fits_own_maps(version.path);
      layout = is_first_start ? Layout::kOwn : Layout::kOther;
      // A copy that was interrupted before any hook used it.
      if (!is_first_start && list_pins(version.path + "/links").empty()) {
        remove_pin_version(version.path);
        continue;
      }
    }
    if (newest == 0) {
      newest = version.number;
      newest_layout = layout;
    }
    sources_.push_back(version.path);
  }
  is_new_ = newest_layout != Layout::kOwn;
  if (!is_new_) sources_.erase(sources_.begin());
  pin_root_ = pin_version(names_.pin_base, is_new_ ? newest + 1 : newest).path;
  return ok();
}

Result<void> Loader::load_object() {
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    const char* name = map_name(static_cast<Map>(i));
    bpf_map* map = ::bpf_object__find_map_by_name(skeleton_->obj, name);
    NP_CHECK(map != nullptr);
    const std::string path = pin_root_ + "/maps/" + name;
    if (::bpf_map__set_pin_path(map, path.c_str()) != 0) return load_error(errno, "name a pin");
  }
  const int loaded = np_capture__load(skeleton_);
  if (loaded == 0) return ok();
  if (is_new_) remove_pin_version(pin_root_);
  return load_error(-loaded, "load the eBPF programs and maps of " + pin_root_);
}

Result<void> Loader::take_over_sources() {
  bool is_first = is_new_;
  for (const std::string& source : sources_) {
    NP_TRY(take_over(source, is_first));
    is_first = false;
  }
  return ok();
}

// `is_first`: into maps that no program uses yet. Until the last of them is written, a failure
// takes back everything.
Result<void> Loader::take_over(const std::string& source, bool is_first) {
  Result<LayoutMove> move = LayoutMove::plan(*this, source);
  Result<void> copied =
      move ? move->copy(is_first ? LayoutMove::Scope::kAll : LayoutMove::Scope::kMissing)
           : Result<void>(move.error());
  if (!copied && is_first) remove_pin_version(pin_root_);
  NP_TRY(std::move(copied));
  NP_TRY(move->switch_programs());
  NP_TRY(move->complete());
  move->remove_source();
  log_info(move->summary() + "; it is in " + pin_root_ + " now");
  return ok();
}

Result<void> Loader::pin_programs() const {
  for (const char* name : kProgramNames) {
    const bpf_program* program = ::bpf_object__find_program_by_name(skeleton_->obj, name);
    NP_CHECK(program != nullptr);
    const std::string path = pin_root_ + "/progs/" + name;
    ::unlink(path.c_str());
    if (::bpf_obj_pin(::bpf_program__fd(program), path.c_str()) != 0) {
      return system_error(errno, "pin " + path);
    }
  }
  return ok();
}

int Loader::map_fd(Map map) const {
  return ::bpf_object__find_map_fd_by_name(skeleton_->obj, map_name(map));
}

Result<Fd> Loader::open_read_only(Map map) const {
  const std::string what = std::string("open ") + map_name(map) + " for reading";
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(map_fd(map), &info, &size) != 0) return system_error(errno, what);
  bpf_get_fd_by_id_opts options{};
  options.sz = sizeof(options);
  options.open_flags = BPF_F_RDONLY;
  Fd fd(::bpf_map_get_fd_by_id_opts(info.id, &options));
  if (!fd.is_open()) return system_error(errno, what);
  return fd;
}

int Loader::program_fd(Program program) const {
  switch (program) {
    case Program::kPodIn:
      return ::bpf_program__fd(skeleton_->progs.np_pod_in);
    case Program::kPodOut:
      return ::bpf_program__fd(skeleton_->progs.np_pod_out);
    case Program::kRetIn:
      return ::bpf_program__fd(skeleton_->progs.np_ret_in);
    case Program::kPick:
      return ::bpf_program__fd(skeleton_->progs.np_pick);
    case Program::kSweep:
      return ::bpf_program__fd(skeleton_->progs.np_sweep);
    case Program::kNote:
      return ::bpf_program__fd(skeleton_->progs.np_note);
    case Program::kGuard:
      return ::bpf_program__fd(skeleton_->progs.np_guard);
    case Program::kGuardTc:
      return ::bpf_program__fd(skeleton_->progs.np_guard_tc);
    case Program::kCount:
      break;
  }
  return -1;
}

Result<void> Loader::write_config(np_config config) const {
  config.abi = NP_ABI_VERSION;
  config.size = sizeof(np_config);
  const uint32_t zero = 0;
  if (::bpf_map_update_elem(map_fd(Map::kConfig), &zero, &config, BPF_ANY) != 0) {
    return system_error(errno, "write np_config");
  }
  return ok();
}

Result<np_config> Loader::read_config() const {
  np_config config{};
  const uint32_t zero = 0;
  if (::bpf_map_lookup_elem(map_fd(Map::kConfig), &zero, &config) != 0) {
    return system_error(errno, "read np_config");
  }
  return config;
}

Result<SweepResult> Loader::sweep(const SweepTimes& times) {
  np_sweep_args args{};
  args.closed_ttl_ns = static_cast<uint64_t>(times.closed.count());
  args.syn_ttl_ns = static_cast<uint64_t>(times.syn.count());
  args.idle_ttl_ns = static_cast<uint64_t>(times.idle.count());
  bpf_test_run_opts opts{};
  opts.sz = sizeof(opts);
  opts.ctx_in = &args;  // the kernel writes the answer back there
  opts.ctx_size_in = sizeof(args);
  if (::bpf_prog_test_run_opts(program_fd(Program::kSweep), &opts) != 0) {
    return system_error(errno, "sweep np_flows");
  }
  return SweepResult{args.live, args.closed, args.removed};
}

Result<bool> Loader::note(const np_event& event) {
  np_note_args args{};
  args.event = event;
  bpf_test_run_opts opts{};
  opts.sz = sizeof(opts);
  opts.ctx_in = &args;  // the kernel writes the answer back there
  opts.ctx_size_in = sizeof(args);
  if (::bpf_prog_test_run_opts(program_fd(Program::kNote), &opts) != 0) {
    return system_error(errno, "write np_events");
  }
  return args.is_written != 0;
}

Result<np_stats> Loader::read_stats() const {
  return sum_stats(map_fd(Map::kStats));
}

Result<void> Loader::attach_pick(int netns_fd) {
  const std::string pin = link_pin("np_pick");
  struct stat netns {};
  if (::fstat(netns_fd, &netns) != 0) return system_error(errno, "look at the proxy namespace");
  if (pinned_netns_inode(pin) != netns.st_ino) ::unlink(pin.c_str());  // of an earlier namespace
  const Result<void> updated = update_pinned_link(pin, program_fd(Program::kPick));
  if (updated || updated.error().code != ErrorCode::kNotFound) return updated;
  const Fd link(::bpf_link_create(program_fd(Program::kPick), netns_fd, BPF_SK_LOOKUP, nullptr));
  if (!link.is_open()) return system_error(errno, "attach np_pick to the proxy namespace");
  if (::bpf_obj_pin(link.get(), pin.c_str()) != 0) return system_error(errno, "pin " + pin);
  return ok();
}

Result<void> Loader::remove_pins(const InstanceNames& names) {
  for (const PinVersion& version : find_pin_versions(names.pin_base)) {
    remove_pin_version(version.path);
  }
  if (::rmdir(names.pin_base.c_str()) != 0 && errno != ENOENT) {
    return system_error(errno, "remove " + names.pin_base);
  }
  return ok();
}

}  // namespace np::kernel
