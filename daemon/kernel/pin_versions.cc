// SPDX-License-Identifier: Apache-2.0
#include "kernel/pin_versions.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace np::kernel {

namespace {

constexpr const char* kDirectories[] = {"/maps", "/progs", "/links"};

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

// 0: no version's name.
uint32_t version_number(const std::string& name) {
  uint32_t number = 0;
  if (name.size() < 2 || name[0] != 'v') return 0;
  const char* end = name.data() + name.size();
  const auto [stopped, problem] = std::from_chars(name.data() + 1, end, number);
  return problem == std::errc() && stopped == end ? number : 0;
}

}  // namespace

PinVersion pin_version(const std::string& pin_base, uint32_t number) {
  return {number, pin_base + "/v" + std::to_string(number)};
}

std::vector<std::string> list_pins(const std::string& directory_path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(directory_path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<PinVersion> find_pin_versions(const std::string& pin_base) {
  std::vector<PinVersion> found;
  for (const std::string& name : list_pins(pin_base)) {
    const uint32_t number = version_number(name);
    if (number > 0) found.push_back({number, pin_base + "/" + name});
  }
  std::sort(found.begin(), found.end(),
            [](const PinVersion& a, const PinVersion& b) { return a.number > b.number; });
  return found;
}

Result<void> make_pin_directories(const std::string& pin_base, const std::string& pin_root) {
  NP_TRY(require_bpffs(pin_base.substr(0, pin_base.rfind('/'))));
  NP_TRY(make_directory(pin_base));
  NP_TRY(make_directory(pin_root));
  for (const char* name : kDirectories) NP_TRY(make_directory(pin_root + name));
  return ok();
}

void remove_pin_version(const std::string& pin_root) {
  for (const char* name : kDirectories) {
    const std::string directory = pin_root + name;
    for (const std::string& pin : list_pins(directory)) ::unlink((directory + "/" + pin).c_str());
    ::rmdir(directory.c_str());
  }
  ::rmdir(pin_root.c_str());
}

}  // namespace np::kernel
