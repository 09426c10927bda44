// SPDX-License-Identifier: Apache-2.0
#include "daemon_program.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace np::nodectl {

std::string daemon_program() {
  std::array<char, 4096> own{};
  const ssize_t size = ::readlink("/proc/self/exe", own.data(), own.size() - 1);
  std::string path = size > 0 ? std::string(own.data(), static_cast<size_t>(size)) : "";
  path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
  path += "nodeproxyd";
  return ::access(path.c_str(), X_OK) == 0 ? path : "nodeproxyd";
}

std::string output_of(const std::string& program, const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "";
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const std::string& one : arguments) argv.push_back(const_cast<char*>(one.c_str()));
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string text;
  std::array<char, 4096> chunk;
  for (ssize_t got = 0; child > 0; text.append(chunk.data(), static_cast<size_t>(got))) {
    got = ::read(ends[0], chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR)
      got = 0;
    else if (got <= 0)
      break;
  }
  ::close(ends[0]);
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return text;
}

}  // namespace np::nodectl
