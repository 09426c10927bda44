// SPDX-License-Identifier: Apache-2.0
#include "admin/admin_server.h"

#include <civetweb.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "admin/gate.h"
#include "admin/host_guard.h"
#include "admin/overview.h"
#include "admin/page_files.h"
#include "base/address.h"
#include "metrics/exposition.h"

namespace np::admin {
namespace {

// A scraper or two, a few people, and some who connect and say nothing.
constexpr size_t kThreads = 8;
constexpr const char* kRequestTimeoutMs = "2000";
constexpr Duration kThreadsStartWithin = std::chrono::seconds(10);
// Two scrapers that come at the same moment are both served.
constexpr Duration kTurnPatience = std::chrono::seconds(1);
constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kJson = "application/json";
// Nothing but what this server sends, and no text as markup.
constexpr const char* kPageRules =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n";
constexpr size_t kTracesMax = 1000;

struct Answer {
  int status = 200;
  std::string_view type = kText;
  std::string_view body;
  const char* more = "";  // further fields
};

int send(mg_connection* connection, const Answer& answer) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %.*s\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s"
            "Connection: close\r\n\r\n",
            answer.status, mg_get_response_code_text(connection, answer.status),
            static_cast<int>(answer.type.size()), answer.type.data(), answer.body.size(),
            kPageRules, answer.more);
  if (std::strcmp(mg_get_request_info(connection)->request_method, "HEAD") != 0) {
    mg_write(connection, answer.body.data(), answer.body.size());
  }
  return answer.status;  // tells CivetWeb that the request was answered
}

bool is_read(mg_connection* connection) {
  const char* method = mg_get_request_info(connection)->request_method;
  return std::strcmp(method, "GET") == 0 || std::strcmp(method, "HEAD") == 0;
}

// ---- parameters ------------------------------------------------------------------------------

std::string parameter(mg_connection* connection, const char* name) {
  const char* query = mg_get_request_info(connection)->query_string;
  std::array<char, 256> value{};
  if (query == nullptr) return {};
  const int size = mg_get_var(query, std::strlen(query), name, value.data(), value.size());
  return size > 0 ? std::string(value.data(), static_cast<size_t>(size)) : std::string();
}

uint64_t number_parameter(mg_connection* connection, const char* name, uint64_t otherwise) {
  const std::string text = parameter(connection, name);
  uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && read.ec == std::errc() ? value : otherwise;
}

metrics::TraceQuery trace_query(mg_connection* connection) {
  constexpr int64_t kUsPerMs = 1000;
  metrics::TraceQuery query;
  query.limit = std::min(number_parameter(connection, "limit", query.limit), uint64_t{kTracesMax});
  const uint64_t ms = number_parameter(connection, "min_duration_ms", 0);
  query.min_duration_us = static_cast<int64_t>(std::min<uint64_t>(ms, INT32_MAX)) * kUsPerMs;
  query.errors_only = parameter(connection, "errors") == "true";
  query.service = parameter(connection, "service");
  query.text = parameter(connection, "text");
  return query;
}

std::string_view type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  return "application/octet-stream";
}

}  // namespace

struct AdminServer::Impl {
  Impl(const AdminOptions& options, const AdminSources& given)
      : sources(given), families(options.families), guard(options.names) {}
  AdminSources sources;
  const metrics::FamilyChoice families;
  const HostGuard guard;
  StartGate gate;
  Turn turn;
  mg_context* context = nullptr;

  // The first thing that each thread does. A scrape of many services takes a while of a CPU:
  // requests go before it. The sandbox forbids the call, so it is made before the gate opens.
  static void* on_thread(const mg_context* context, int /*kind*/) {
    constexpr int kNice = 10;
    (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    static_cast<Impl*>(mg_get_user_data(context))->gate.pass();
    return nullptr;
  }

  using Handler = int (Impl::*)(mg_connection*);
  template <Handler handler>
  static int call(mg_connection* connection, void* self) {
    if (!is_read(connection)) return send(connection, {405, kText, "GET only\n"});
    return (static_cast<Impl*>(self)->*handler)(connection);
  }
  template <Handler handler>
  void serve(const char* path) {
    mg_set_request_handler(context, path, &call<handler>, this);
  }

  static int probe(mg_connection* connection, const std::string& problem) {
    if (problem.empty()) return send(connection, {200, kText, "ok\n"});
    return send(connection, {503, kText, problem + "\n"});
  }
  int livez(mg_connection* connection) {
    return probe(connection, sources.health.liveness_problem());
  }
  int readyz(mg_connection* connection) {
    return probe(connection, sources.health.readiness_problem());
  }
  // Tells what `make` says about pods; the turn ends before a slow reader takes it.
  template <typename Make>
  int tell(mg_connection* connection, std::string_view type, const Make& make) {
    if (!guard.allows(mg_get_header(connection, "Host"))) {
      return send(connection,
                  {403, kText, "ask by address, as localhost, or by a name of --admin-name\n"});
    }
    if (!turn.take(kTurnPatience)) {
      return send(connection, {503, kText, "busy with another question\n", "Retry-After: 1\r\n"});
    }
    const std::string body = make();
    turn.give();
    if (body.empty()) return send(connection, {404, kText, "not here (any more)\n"});
    return send(connection, {200, type, body});
  }
  int metrics(mg_connection* connection) {
    return tell(connection, "text/plain; version=0.0.4; charset=utf-8", [this] {
      return metrics::exposition(sources.node.totals(), sources.telemetry, families);
    });
  }
  std::string api_answer(mg_connection* connection);
  int api(mg_connection* connection);
  int page(mg_connection* connection);
};

std::string AdminServer::Impl::api_answer(mg_connection* connection) {
  constexpr std::string_view kTraces = "/api/traces";
  const std::string_view path = mg_get_request_info(connection)->local_uri;
  if (path == "/api/overview") {
    return overview_json(sources.node, sources.telemetry,
                         {number_parameter(connection, "revision", 0)});
  }
  if (path == kTraces) return traces_json(sources.telemetry.traces(), trace_query(connection));
  if (path.starts_with(kTraces) && path[kTraces.size()] == '/') {
    return trace_json(sources.telemetry.traces(), std::string(path.substr(kTraces.size() + 1)));
  }
  return {};
}

int AdminServer::Impl::api(mg_connection* connection) {
  return tell(connection, kJson, [&] { return api_answer(connection); });
}

int AdminServer::Impl::page(mg_connection* connection) {
  std::string_view path = mg_get_request_info(connection)->local_uri;
  path.remove_prefix(std::min<size_t>(1, path.size()));
  if (path.empty()) path = "index.html";
  for (const PageFile& file : page_files()) {
    if (file.name == path) return send(connection, {200, type_of(path), file.bytes});
  }
  return send(connection, {404, kText, "there is /, /metrics, /livez and /readyz\n"});
}

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AdminServer::~AdminServer() {
  if (impl_->context == nullptr) return;
  if (impl_->gate.is_open()) {
    mg_stop(impl_->context);
  } else {
    // Who never saw the sandbox accepts nothing, not even on the way out: the threads stay where
    // they are until the process ends, which is at hand, and keep what they look at.
    (void)impl_.release();
  }
}

void AdminServer::open() {
  impl_->gate.open();
}

Result<std::unique_ptr<AdminServer>> AdminServer::start(const AdminOptions& options,
                                                        const AdminSources& sources) {
  const std::string& bind = options.bind;
  if (!SocketAddress::parse(bind)) {
    return Error{ErrorCode::kInvalid, "--admin " + bind, "not an address and port",
                 "for example 127.0.0.1:15090 or [::1]:15090"};
  }
  // No features: no files are served, no TLS library is loaded into this process.
  mg_init_library(MG_FEATURES_DEFAULT);
  const std::string threads = std::to_string(kThreads);
  std::array<const char*, 9> settings = {
      "listening_ports", bind.c_str(),        "num_threads", threads.c_str(), "request_timeout_ms",
      kRequestTimeoutMs, "enable_keep_alive", "no",          nullptr};
  mg_callbacks callbacks{};
  callbacks.init_thread = Impl::on_thread;
  std::unique_ptr<AdminServer> server(new AdminServer(std::make_unique<Impl>(options, sources)));
  Impl& impl = *server->impl_;
  errno = 0;
  impl.context = mg_start(&callbacks, &impl, settings.data());
  if (impl.context == nullptr) {
    const int cause = errno != 0 ? errno : EADDRINUSE;
    return system_error(cause, "listen on " + bind + " for the admin pages",
                        "choose another address with --admin");
  }
  impl.serve<&Impl::livez>("/livez$");
  impl.serve<&Impl::readyz>("/readyz$");
  impl.serve<&Impl::metrics>("/metrics$");
  impl.serve<&Impl::metrics>("/stats/prometheus$");
  impl.serve<&Impl::api>("/api/");
  impl.serve<&Impl::page>("/");
  const size_t all = kThreads + 1;  // and the one that accepts
  if (!impl.gate.await_arrivals(all, kThreadsStartWithin)) {
    return Error{ErrorCode::kExhausted, "start the threads of the admin pages",
                 "not all " + std::to_string(all) + " began", "look at the limits of processes"};
  }
  return server;
}

}  // namespace np::admin
