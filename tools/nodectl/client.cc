// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "control/wire.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr const char* kSystemRunDir = "/run/nodeproxy";

std::string socket_path(const std::string& run_dir) {
  return run_dir + "/" + control::kControlSocketName;
}

Error cannot_connect(int failure, const std::string& run_dir) {
  const bool is_absent = failure == ENOENT || failure == ECONNREFUSED;
  std::string hint = "start it with: nodeproxyd --run-dir " + run_dir;
  if (failure == EACCES) hint = "root and the group nodeproxy may talk to it";
  return Error{is_absent ? ErrorCode::kNotFound : ErrorCode::kDenied,
               "no daemon answers on " + socket_path(run_dir), std::strerror(failure), hint};
}

Result<Fd> connect_to(const std::string& run_dir, time_t silence_seconds) {
  const std::string path = socket_path(run_dir);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error{ErrorCode::kInvalid, "connect to " + path, "the path is too long", ""};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return system_error(errno, "make a socket");
  const timeval silence{silence_seconds, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return cannot_connect(errno, run_dir);
  }
  return fd;
}

Result<void> send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return system_error(errno, "send to the daemon");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return ok();
}

Result<std::string> receive(int fd, size_t wanted) {
  std::string bytes;
  std::array<char, 65536> chunk;
  while (bytes.size() < wanted) {
    const size_t room = std::min(chunk.size(), wanted - bytes.size());
    const ssize_t got = ::recv(fd, chunk.data(), room, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(errno, "wait for the daemon's answer");
    if (got == 0) {
      return Error{ErrorCode::kSystem, "wait for the daemon's answer",
                   "it closed the connection; its log says why", ""};
    }
    bytes.append(chunk.data(), static_cast<size_t>(got));
  }
  return bytes;
}

std::string big_endian(size_t length) {
  std::string bytes;
  for (unsigned shift = 32; shift > 0; shift -= 8) {
    bytes += static_cast<char>((length >> (shift - 8)) & 0xffU);
  }
  return bytes;
}

}  // namespace

std::string default_run_dir() {
  if (::geteuid() == 0) return kSystemRunDir;
  const char* base = std::getenv("XDG_RUNTIME_DIR");
  const std::string own =
      (base != nullptr && *base != '\0' ? std::string(base)
                                        : "/run/user/" + std::to_string(::geteuid())) +
      "/nodeproxy";
  const bool has_own = ::access(socket_path(own).c_str(), F_OK) == 0;
  const bool may_use_system = ::access(socket_path(kSystemRunDir).c_str(), W_OK) == 0;
  return !has_own && may_use_system ? kSystemRunDir : own;
}

Result<Json> ask(const std::string& run_dir, const Json& request, time_t silence_seconds) {
  const std::string text = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > control::kRequestBytesMax) {
    return Error{ErrorCode::kExhausted, "send the request",
                 "it is longer than " + std::to_string(control::kRequestBytesMax) + " bytes",
                 "give fewer files at once"};
  }
  NP_TRY_ASSIGN(const Fd fd, connect_to(run_dir, silence_seconds));
  NP_TRY(send_all(fd.get(), big_endian(text.size()) + text));
  NP_TRY_ASSIGN(const std::string header, receive(fd.get(), control::kLengthBytes));
  size_t length = 0;
  for (const char c : header) length = (length << 8U) | static_cast<unsigned char>(c);
  if (length > control::kAnswerBytesMax) {
    return Error{ErrorCode::kInvalid, "read the daemon's answer", "it is too long", ""};
  }
  NP_TRY_ASSIGN(const std::string body, receive(fd.get(), length));
  Json answer = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer.contains("ok") || !answer["ok"].is_boolean()) {
    return Error{ErrorCode::kInvalid, "read the daemon's answer", "it is not one of nodeproxyd's",
                 ""};
  }
  return answer;
}

bool ask_or_complain(const std::string& run_dir, const Json& request, Json& answer) {
  auto result = ask(run_dir, request);
  if (!result) {
    complain("error: " + result.error().to_string());
    return false;
  }
  answer = std::move(result).value();
  if (answer["ok"].get<bool>()) return true;
  for (const Json& diagnostic : answer.value("diagnostics", Json::array())) {
    complain(diagnostic.value("text", ""));
  }
  const Json errors = answer.value("errors", Json::array({answer.value("error", "refused")}));
  for (const Json& error : errors) {
    complain("error: " + error.get<std::string>());
  }
  return false;
}

}  // namespace np::nodectl
