// SPDX-License-Identifier: Apache-2.0
#include "admin/admin_server.h"

#include <civetweb.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/address.h"

namespace np::admin {
namespace {

// Probes and a few people: more threads would only cost memory.
constexpr const char* kThreads = "2";
constexpr const char* kRequestTimeoutMs = "5000";

int answer(mg_connection* connection, int status, const char* reason, const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            status, reason, body.size());
  if (std::strcmp(mg_get_request_info(connection)->request_method, "HEAD") != 0) {
    mg_write(connection, body.data(), body.size());
  }
  return status;  // tells CivetWeb that the request was answered
}

bool is_read(mg_connection* connection) {
  const char* method = mg_get_request_info(connection)->request_method;
  return std::strcmp(method, "GET") == 0 || std::strcmp(method, "HEAD") == 0;
}

int answer_probe(mg_connection* connection, const std::string& problem) {
  if (!is_read(connection)) return answer(connection, 405, "Method Not Allowed", "GET only\n");
  if (problem.empty()) return answer(connection, 200, "OK", "ok\n");
  return answer(connection, 503, "Service Unavailable", problem + "\n");
}

int on_livez(mg_connection* connection, void* health) {
  return answer_probe(connection, static_cast<HealthSource*>(health)->liveness_problem());
}

int on_readyz(mg_connection* connection, void* health) {
  return answer_probe(connection, static_cast<HealthSource*>(health)->readiness_problem());
}

int on_other(mg_connection* connection, void* /*unused*/) {
  return answer(connection, 404, "Not Found", "there is /livez and /readyz\n");
}

}  // namespace

struct AdminServer::Impl {
  mg_context* context = nullptr;
};

AdminServer::AdminServer() : impl_(std::make_unique<Impl>()) {}

AdminServer::~AdminServer() {
  if (impl_->context != nullptr) mg_stop(impl_->context);
}

Result<std::unique_ptr<AdminServer>> AdminServer::start(const std::string& bind,
                                                        HealthSource& health) {
  if (!SocketAddress::parse(bind)) {
    return Error{ErrorCode::kInvalid, "--admin " + bind, "not an address and port",
                 "for example 127.0.0.1:15090 or [::1]:15090"};
  }
  // No features: no files are served, no TLS library is loaded into this process.
  mg_init_library(MG_FEATURES_DEFAULT);
  std::array<const char*, 9> options = {
      "listening_ports", bind.c_str(),        "num_threads", kThreads, "request_timeout_ms",
      kRequestTimeoutMs, "enable_keep_alive", "no",          nullptr};
  const mg_callbacks callbacks{};
  std::unique_ptr<AdminServer> server(new AdminServer());
  errno = 0;
  server->impl_->context = mg_start(&callbacks, nullptr, options.data());
  if (server->impl_->context == nullptr) {
    const int cause = errno != 0 ? errno : EADDRINUSE;
    return system_error(cause, "listen on " + bind + " for the admin pages",
                        "choose another address with --admin");
  }
  mg_set_request_handler(server->impl_->context, "/livez$", on_livez, &health);
  mg_set_request_handler(server->impl_->context, "/readyz$", on_readyz, &health);
  mg_set_request_handler(server->impl_->context, "/", on_other, nullptr);
  return server;
}

}  // namespace np::admin
