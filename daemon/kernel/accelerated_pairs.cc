// SPDX-License-Identifier: Apache-2.0
#include "kernel/accelerated_pairs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/address.h"
#include "np_accelerate.skel.h"

namespace np::kernel {
namespace {

constexpr const char* kCgroupPrefix = "nodeproxy-self-test-";
constexpr mode_t kCgroupMode = 0755;

// A mount of the hierarchy for this process alone, wherever the node has its own.
Result<Fd> open_cgroup_root() {
  const Fd context(::fsopen("cgroup2", FSOPEN_CLOEXEC));
  if (!context.is_open() ||
      ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return system_error(errno, "open the cgroup2 hierarchy", "it needs root and cgroup2");
  }
  Fd root(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!root.is_open()) return system_error(errno, "mount the cgroup2 hierarchy");
  return root;
}

// A run of this process's own pid namespace that still lives may not have moved into its group yet.
bool is_left(const std::string& name) {
  pid_t pid = 0;
  const char* end = name.data() + name.size();
  const auto [stop, problem] = std::from_chars(name.data() + std::strlen(kCgroupPrefix), end, pid);
  return problem == std::errc() && stop == end && ::kill(pid, 0) != 0 && errno == ESRCH;
}

// What a run that was killed has left; a group with a process in it is not removed.
void remove_left_groups(int root) {
  DIR* directory = ::fdopendir(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory == nullptr) return;
  std::vector<std::string> left;
  while (const dirent* entry = ::readdir(directory)) {
    if (std::strncmp(entry->d_name, kCgroupPrefix, std::strlen(kCgroupPrefix)) == 0) {
      left.emplace_back(entry->d_name);
    }
  }
  ::closedir(directory);
  for (const std::string& name : left) {
    if (is_left(name)) (void)::unlinkat(root, name.c_str(), AT_REMOVEDIR);
  }
}

// "." is the root itself: also where the process lives outside of what is seen from here.
std::string own_cgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::/", 0) == 0 && line.find("/..") == std::string::npos) {
      return line.size() > 4 ? line.substr(4) : ".";
    }
  }
  return ".";
}

Result<void> move_to(int root, const std::string& group) {
  const std::string path = group + "/cgroup.procs";
  const Fd file(::openat(root, path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.is_open() || ::write(file.get(), "0", 1) != 1) {
    return system_error(errno, "move to cgroup " + group);
  }
  return ok();
}

// Its v4-mapped form is what the programs write.
void put_address(const sockaddr_storage& from, __u8 (&ip)[16], __u16& port) {
  const auto address = SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&from));
  std::memcpy(ip, address.ip.bytes.data(), sizeof(ip));
  port = address.port;
}

Result<np_acc_key> key_of(int socket) {
  np_acc_key key{};
  sockaddr_storage local{}, remote{};
  socklen_t local_size = sizeof(local), remote_size = sizeof(remote);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&local), &local_size) != 0 ||
      ::getpeername(socket, reinterpret_cast<sockaddr*>(&remote), &remote_size) != 0) {
    return system_error(errno, "ask a socket for its addresses");
  }
  put_address(local, key.local, key.lport);
  put_address(remote, key.remote, key.rport);
  return key;
}

}  // namespace

Result<std::unique_ptr<AcceleratedPairs>> AcceleratedPairs::create(const RedirectionRules& rules) {
  std::unique_ptr<AcceleratedPairs> pairs(new AcceleratedPairs());
  NP_TRY(pairs->load(rules));
  NP_TRY(pairs->enter_cgroup());
  return pairs;
}

AcceleratedPairs::~AcceleratedPairs() {
  leave_cgroup();
  np_accelerate__destroy(skeleton_);
}

Result<void> AcceleratedPairs::load(const RedirectionRules& rules) {
  skeleton_ = np_accelerate__open();
  if (skeleton_ == nullptr) return system_error(errno, "open the programs of acceleration");
  skeleton_->rodata->np_acc_window_bytes = rules.window_bytes;
  skeleton_->rodata->np_acc_keeps_route = rules.keeps_route ? 1 : 0;
  if (const int failure = np_accelerate__load(skeleton_); failure != 0) {
    return system_error(-failure, "load the programs of acceleration",
                        "it needs root and a kernel with sk_msg");
  }
  if (::bpf_prog_attach(::bpf_program__fd(skeleton_->progs.np_acc_msg),
                        ::bpf_map__fd(skeleton_->maps.np_acc_socks), BPF_SK_MSG_VERDICT, 0) != 0) {
    return system_error(errno, "attach np_acc_msg to its sockets");
  }
  return ok();
}

Result<void> AcceleratedPairs::enter_cgroup() {
  NP_TRY_ASSIGN(cgroup_root_, open_cgroup_root());
  remove_left_groups(cgroup_root_.get());
  former_ = own_cgroup();
  const std::string name = kCgroupPrefix + std::to_string(::getpid());
  if (::mkdirat(cgroup_root_.get(), name.c_str(), kCgroupMode) != 0) {
    return system_error(errno, "make a cgroup for the self-test");
  }
  cgroup_ = name;
  const Fd group(::openat(cgroup_root_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  link_ = Fd(::bpf_link_create(::bpf_program__fd(skeleton_->progs.np_acc_open), group.get(),
                               BPF_CGROUP_SOCK_OPS, nullptr));
  if (!link_.is_open()) return system_error(errno, "attach np_acc_open to its cgroup");
  return move_to(cgroup_root_.get(), cgroup_);
}

void AcceleratedPairs::leave_cgroup() {
  link_.reset();
  if (cgroup_.empty()) return;
  if (!move_to(cgroup_root_.get(), former_)) (void)move_to(cgroup_root_.get(), ".");
  (void)::unlinkat(cgroup_root_.get(), cgroup_.c_str(), AT_REMOVEDIR);
}

Result<ConnectedPair> AcceleratedPairs::make(LoopbackFamily family) {
  return connect_loopback(family);
}

Result<void> AcceleratedPairs::leave(const ConnectedPair& pair) {
  NP_TRY_ASSIGN(const np_acc_key key, key_of(pair.server.get()));
  if (::bpf_map_delete_elem(::bpf_map__fd(skeleton_->maps.np_acc_socks), &key) != 0) {
    return system_error(errno, "take a socket out of np_acc_socks");
  }
  return ok();
}

Result<void> AcceleratedPairs::join(const ConnectedPair& pair) {
  NP_TRY_ASSIGN(const np_acc_key key, key_of(pair.server.get()));
  const __u64 socket = static_cast<__u64>(pair.server.get());
  if (::bpf_map_update_elem(::bpf_map__fd(skeleton_->maps.np_acc_socks), &key, &socket, BPF_ANY) !=
      0) {
    return system_error(errno, "put a socket into np_acc_socks");
  }
  return ok();
}

Result<np_acc_st> AcceleratedPairs::counters() const {
  const int cpus = ::libbpf_num_possible_cpus();
  if (cpus <= 0) return system_error(-cpus, "count CPUs");
  std::vector<np_acc_st> each(static_cast<size_t>(cpus));
  const __u32 zero = 0;
  if (::bpf_map_lookup_elem(::bpf_map__fd(skeleton_->maps.np_acc_st), &zero, each.data()) != 0) {
    return system_error(errno, "read np_acc_st");
  }
  np_acc_st sum{};
  for (const np_acc_st& one : each) {
#define NP_ADD(name, help) sum.name += one.name;
    NP_ACC_STATS(NP_ADD)
#undef NP_ADD
  }
  return sum;
}

}  // namespace np::kernel
