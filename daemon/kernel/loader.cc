// SPDX-License-Identifier: Apache-2.0
#include "kernel/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <linux/magic.h>
#include <np_capture.skel.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "base/fd.h"
#include "kernel/hook.h"
#include "kernel/kernel_maps.h"

namespace np::kernel {

namespace {

constexpr const char* kProgramNames[] = {"np_pod_in", "np_ret_in", "np_pick", "np_sweep"};
constexpr const char* kDirectories[] = {"/maps", "/progs", "/links"};
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

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return ok();
  return system_error(errno, "make " + path);
}

Result<void> require_bpffs(const std::string& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return system_error(errno, "look at " + path);
  if (static_cast<uint64_t>(info.f_type) == BPF_FS_MAGIC) return ok();
  if (::mount("bpf", path.c_str(), "bpf", 0, "mode=0700") == 0) return ok();
  return system_error(errno, "mount bpffs at " + path, "mount -t bpf bpf " + path);
}

// Removes the plain entries of a pin directory, then the directory.
void remove_directory(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') ::unlink((path + "/" + entry->d_name).c_str());
  }
  ::closedir(directory);
  ::rmdir(path.c_str());
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

Result<std::unique_ptr<Loader>> Loader::load(const InstanceNames& names) {
  std::unique_ptr<Loader> loader(new Loader(names));
  ::libbpf_set_print(keep_log);
  NP_TRY(loader->prepare_directories());
  NP_TRY(loader->refuse_other_abi());
  NP_TRY(loader->open_and_load());
  NP_TRY(loader->pin_programs());
  return loader;
}

Loader::~Loader() {
  np_capture__destroy(skeleton_);
}

Result<void> Loader::prepare_directories() const {
  const std::string instance_directory = names_.pin_root.substr(0, names_.pin_root.rfind('/'));
  NP_TRY(require_bpffs(instance_directory.substr(0, instance_directory.rfind('/'))));
  NP_TRY(make_directory(instance_directory));
  NP_TRY(make_directory(names_.pin_root));
  for (const char* name : kDirectories) NP_TRY(make_directory(names_.pin_root + name));
  return ok();
}

Result<void> Loader::refuse_other_abi() const {
  const std::string path = names_.pin_root + "/maps/np_config";
  const Fd map(::bpf_obj_get(path.c_str()));
  if (!map.is_open() && errno == ENOENT) return ok();
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
  uint32_t found[2];  // abi and size come first in every version
  std::memcpy(found, value.data(), sizeof(found));
  const bool is_new = found[0] == 0 && info.value_size == sizeof(np_config);
  if (is_new || (found[0] == NP_ABI_VERSION && found[1] == sizeof(np_config))) return ok();
  return Error{ErrorCode::kUnsupported, "take over the kernel state in " + names_.pin_root,
               "it has layout " + std::to_string(found[0]) + " (" + std::to_string(found[1]) +
                   " bytes), this binary has " + std::to_string(NP_ABI_VERSION) + " (" +
                   std::to_string(sizeof(np_config)) + " bytes)",
               "run `nodectl detach --all` with the version that made it, then start again"};
}

Result<void> Loader::open_and_load() {
  g_libbpf_log.clear();
  skeleton_ = np_capture__open();
  if (skeleton_ == nullptr) return load_error(errno, "open the built-in eBPF object");
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    const char* name = map_name(static_cast<Map>(i));
    bpf_map* map = ::bpf_object__find_map_by_name(skeleton_->obj, name);
    NP_CHECK(map != nullptr);
    const std::string path = names_.pin_root + "/maps/" + name;
    if (::bpf_map__set_pin_path(map, path.c_str()) != 0) return load_error(errno, "name a pin");
  }
  const int loaded = np_capture__load(skeleton_);
  if (loaded == 0) return ok();
  Error error = load_error(-loaded, "load the eBPF programs and maps of " + names_.pin_root);
  if (loaded == -EINVAL && error.hint.empty()) {
    error.hint = "a pinned map of another version? `nodectl detach --all` removes the old state";
  }
  return error;
}

Result<void> Loader::pin_programs() const {
  for (const char* name : kProgramNames) {
    const bpf_program* program = ::bpf_object__find_program_by_name(skeleton_->obj, name);
    NP_CHECK(program != nullptr);
    const std::string path = names_.pin_root + "/progs/" + name;
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

int Loader::program_fd(Program program) const {
  switch (program) {
    case Program::kPodIn:
      return ::bpf_program__fd(skeleton_->progs.np_pod_in);
    case Program::kRetIn:
      return ::bpf_program__fd(skeleton_->progs.np_ret_in);
    case Program::kPick:
      return ::bpf_program__fd(skeleton_->progs.np_pick);
    case Program::kSweep:
      return ::bpf_program__fd(skeleton_->progs.np_sweep);
  }
  return -1;
}

Result<void> Loader::write_config(np_config config) {
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
  for (const char* name : kDirectories) remove_directory(names.pin_root + name);
  ::rmdir(names.pin_root.c_str());
  const std::string instance_directory = names.pin_root.substr(0, names.pin_root.rfind('/'));
  if (::rmdir(instance_directory.c_str()) != 0 && errno != ENOENT) {
    return system_error(errno, "remove " + instance_directory);
  }
  return ok();
}

}  // namespace np::kernel
