// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/explain_policies.h"

namespace np::sim {
namespace {

std::string object(const std::string& api, const std::string& kind, const std::string& name,
                   const std::string& spec) {
  return "---\napiVersion: " + api + "\nkind: " + kind + "\nmetadata: {name: " + name +
         "}\nspec: " + spec + "\n";
}

std::string service(const std::string& name, const std::string& address) {
  return object("v1", "Service", name,
                "{clusterIP: " + address + ", selector: {app: " + name +
                    "}, ports: [{name: http, port: 9080}]}");
}

std::string pod(const std::string& name, const std::string& app, const std::string& version,
                const std::string& address) {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: " + app +
         ", version: " + version + "}}\nstatus: {podIP: " + address + "}\n";
}

// Two versions more than there are pods of: subsets may be empty.
const char* const kRegistry[] = {"reviews", "ratings", "details"};

std::string registry() {
  std::string out;
  int number = 0;
  for (const char* name : kRegistry) {
    ++number;
    out += service(name, "10.96.0." + std::to_string(number));
    for (int version = 1; version <= 3; ++version) {
      const std::string text = std::to_string(version);
      out +=
          pod(name + ("-" + text), name, "v" + text, "10.1." + std::to_string(number) + "." + text);
    }
  }
  out += pod("front-1", "front", "v1", "10.1.9.1") + pod("front-2", "front", "v2", "10.1.9.2");
  out += object("networking.istio.io/v1", "ServiceEntry", "outside",
                "{hosts: [\"*.example.org\"], resolution: NONE, ports: [{number: 80, name: http, "
                "protocol: HTTP}]}");
  out += object("networking.istio.io/v1", "Gateway", "door",
                "{servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [\"*\"]}]}");
  return out;
}

}  // namespace

std::string PolicyMaker::text_match() {
  static const std::vector<std::string> kMatches = {"{exact: a}",       "{exact: b}",
                                                    "{prefix: a}",      "{prefix: ab}",
                                                    "{regex: \"a.*\"}", "{regex: \"[ab]{1,2}\"}"};
  return pick(kMatches);
}

std::string PolicyMaker::path_match() {
  static const std::vector<std::string> kMatches = {
      "{exact: /a}",    "{exact: /a/b}",         "{prefix: /}",  "{prefix: /a}",
      "{prefix: /a/b}", "{regex: \"/a(/.*)?\"}", "{prefix: /b}", "{regex: \"/[ab]+\"}",
      "{prefix: /A/}",  "{exact: \"/b/a\"}"};
  return pick(kMatches);
}

std::string PolicyMaker::headers_match() {
  std::string out = pick({"user", "x-env"}) + ": " + text_match();
  if (one_in(6)) out += ", x-forwarded-proto: {exact: " + pick({"http", "https"}) + "}";
  if (one_in(4)) out += ", cookie: {regex: \"^(.*?;\\\\s*)?(user=a)(;.*)?$\"}";
  return "{" + out + "}";
}

std::string PolicyMaker::percent() {
  return pick({"100", "100", "50", "0", "7"});
}

// ---- today's API -----------------------------------------------------------------------------

std::string PolicyMaker::http_match() {
  std::string out;
  const auto add = [&out](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (!one_in(3)) {
    const std::string path = path_match();
    add("uri: " + path);
    if (one_in(6) && path.find("regex") == std::string::npos) add("ignoreUriCase: true");
  }
  if (one_in(4)) add("method: {exact: " + pick({"GET", "POST", "OPTIONS"}) + "}");
  if (one_in(3)) add("headers: " + headers_match());
  if (one_in(6)) add("withoutHeaders: {" + pick({"user", "x-env"}) + ": " + text_match() + "}");
  if (one_in(6)) add("queryParams: {x: " + pick({"{exact: a}", "{exact: b}"}) + "}");
  if (one_in(5)) add("sourceLabels: {app: " + pick({"front", "reviews"}) + "}");
  if (one_in(8)) add("sourceNamespace: " + pick({"default", "other"}));
  if (one_in(8)) add("authority: {prefix: " + pick({"ratings", "reviews", "api", "\"10.\""}) + "}");
  if (one_in(8)) add("port: " + pick({"9080", "8080"}));
  return "{" + out + "}";
}

std::string PolicyMaker::http_extras() {
  std::string out;
  if (one_in(3)) out += ", timeout: " + pick({"1s", "2500ms", "0s"});
  if (one_in(3)) {
    out += ", retries: {attempts: ";
    out += one_in(4) ? "0}"
                     : pick({"1", "3"}) + ", retryOn: \"" +
                           pick({"5xx", "gateway-error", "connect-failure", "503"}) + "\"" +
                           (one_in(2) ? ", perTryTimeout: " + pick({"400ms", "3s"}) : "") + "}";
  }
  if (one_in(4)) {
    out += ", fault: {";
    const bool delays = one_in(2);
    if (delays) {
      out += "delay: {fixedDelay: " + pick({"3s", "700ms"}) + ", percentage: {value: " + percent() +
             "}}";
    }
    if (!delays || one_in(3)) {
      out += std::string(delays ? ", " : "") +
             "abort: {httpStatus: " + pick({"418", "500", "503"}) +
             ", percentage: {value: " + percent() + "}}";
    }
    out += "}";
  }
  if (one_in(5)) {
    out +=
        ", corsPolicy: {allowOrigins: [{exact: \"http://a.example\"}], allowMethods: [GET], "
        "unmatchedPreflights: " +
        pick({"FORWARD", "IGNORE"}) + "}";
  }
  if (one_in(6)) out += ", headers: {request: {set: {x-set: \"1\"}}, response: {remove: [server]}}";
  return out;
}

std::string PolicyMaker::http_action(const std::string& destination) {
  if (one_in(8)) {
    return "redirect: {" +
           pick({"uri: /new", "authority: other.example", "uri: /new, authority: o.example:81",
                 "redirectCode: 307, scheme: https", "port: 81"}) +
           "}";
  }
  if (one_in(10)) return "directResponse: {status: 203, body: {string: hello}}";
  std::string routes;
  const uint32_t count = 1 + dice_.below(3);
  for (uint32_t i = 0; i < count; ++i) {
    const std::string host = one_in(5) ? pick({"reviews", "ratings", "nowhere"}) : destination;
    const bool named = host != "nowhere" && !one_in(3);
    routes += (i == 0 ? "{destination: {host: " : ", {destination: {host: ") + host +
              (named ? ", subset: " + pick({"v1", "v2", "v3", "none", "unknown"}) : "") + "}" +
              (count == 1 ? "" : ", weight: " + (i == 0 ? "1" : pick({"0", "1", "50", "99"}))) +
              "}";
  }
  std::string out = "route: [" + routes + "]";
  if (one_in(4)) {
    out += ", rewrite: {" +
           pick({"uri: /r", "authority: new.example", "uri: /, authority: n",
                 "uriRegexRewrite: {match: \"^/a\", rewrite: \"/z\"}"}) +
           "}";
  }
  return out;
}

std::string PolicyMaker::http_rule(const std::string& destination) {
  std::string out = "{";
  if (!one_in(4)) {
    out += "match: [" + http_match() + (one_in(4) ? ", " + http_match() : std::string()) + "], ";
  }
  const std::string action = http_action(destination);
  const bool forwards = action.starts_with("route");
  return out + action + (forwards ? http_extras() : std::string()) + "}";
}

std::string PolicyMaker::virtual_service(const std::string& name, const std::string& hosts,
                                         const std::string& gateways,
                                         const std::string& destination) {
  std::string rules;
  const uint32_t count = one_in(12) ? 30 : 1 + dice_.below(5);
  for (uint32_t i = 0; i < count; ++i) {
    rules += (i == 0 ? "" : ", ") + http_rule(destination);
  }
  return object("networking.istio.io/v1", "VirtualService", name,
                "{hosts: [" + hosts + "], gateways: [" + gateways + "], http: [" + rules + "]" +
                    (one_in(8) ? ", exportTo: [" + pick({"\".\"", "other"}) + "]" : "") + "}");
}

std::string PolicyMaker::destination_rule(const std::string& host) {
  std::string subsets;
  for (const char* version : {"v1", "v2", "v3"}) {
    subsets += std::string("{name: ") + version + ", labels: {version: " + version + "}}, ";
  }
  const std::string policy =
      pick({"loadBalancer: {simple: RANDOM}", "loadBalancer: {simple: LEAST_REQUEST}",
            "loadBalancer: {consistentHash: {httpHeaderName: user}}",
            "connectionPool: {tcp: {maxConnections: 4}}",
            "outlierDetection: {consecutive5xxErrors: 3, maxEjectionPercent: 100}"});
  return object("networking.istio.io/v1", "DestinationRule", host,
                "{host: " + host + ", trafficPolicy: {" + policy + "}, subsets: [" + subsets +
                    "{name: none, labels: {version: v9}}]}");
}

// ---- the old API -----------------------------------------------------------------------------

std::string PolicyMaker::old_match() {
  std::string out;
  if (one_in(2)) {
    out = "source: {name: " + pick({"front", "reviews", "nowhere"}) +
          (one_in(3) ? ", labels: {version: v1}" : std::string()) + "}";
  }
  if (out.empty() || one_in(2)) {
    out += (out.empty() ? "request: {headers: {" : ", request: {headers: {") +
           (one_in(2) ? "uri: " + path_match() : pick({"user", "x-env"}) + ": " + text_match()) +
           "}}";
  }
  return out;
}

std::string PolicyMaker::route_rule(const std::string& host, uint32_t number) {
  std::string spec =
      "{destination: {name: " + host + "}, precedence: " + std::to_string(dice_.below(4));
  if (!one_in(4)) spec += ", match: {" + old_match() + "}";
  if (one_in(8)) {
    spec +=
        ", redirect: {uri: /moved" + (one_in(2) ? std::string(", authority: m.example") : "") + "}";
  } else {
    const uint32_t first = 10 * dice_.below(11);
    if (one_in(2)) {
      spec += ", route: [{labels: {version: " + pick({"v1", "v2", "v9"}) + "}}]";
    } else {
      spec += ", route: [{labels: {version: v1}, weight: " + std::to_string(first) +
              "}, {labels: {version: " + pick({"v2", "v3"}) +
              "}, weight: " + std::to_string(100 - first) + "}]";
    }
    if (one_in(5)) spec += ", rewrite: {uri: /old}";
    if (one_in(3)) spec += ", httpReqTimeout: {simpleTimeout: {timeout: 2s}}";
    if (one_in(3)) {
      spec += ", httpReqRetries: {simpleRetry: {attempts: 2, perTryTimeout: 500ms}}";
    }
    if (one_in(4)) {
      spec += ", httpFault: {delay: {percent: " + percent() + ", fixedDelay: 5s}}";
    } else if (one_in(4)) {
      spec += ", httpFault: {abort: {percent: " + percent() + ", httpStatus: 400}}";
    }
  }
  return object("config.istio.io/v1alpha2", "RouteRule", host + "-" + std::to_string(number),
                spec + "}");
}

std::string PolicyMaker::destination_policy(const std::string& host, uint32_t number) {
  return object("config.istio.io/v1alpha2", "DestinationPolicy",
                host + "-" + std::to_string(number),
                "{destination: {name: " + host + ", labels: {version: v" + std::to_string(number) +
                    "}}, circuitBreaker: {simpleCb: {maxConnections: 3}}}");
}

// ---- nodeproxy.dev, Mixer --------------------------------------------------------------------

std::string PolicyMaker::traffic_policy(const std::string& host) {
  std::string faults;
  const uint32_t count = 1 + dice_.below(3);
  for (uint32_t i = 0; i < count; ++i) {
    std::string fault = "{name: f" + std::to_string(i);
    if (!one_in(3)) fault += ", match: [" + http_match() + "]";
    if (one_in(2)) {
      fault += ", delay: {" + pick({"fixed: 2s", "uniform: {min: 1s, max: 2s}"}) +
               ", percent: " + percent() + "}";
    } else {
      fault +=
          ", abort: {" + pick({"status: 429", "reset: true"}) + ", percent: " + percent() + "}";
    }
    if (one_in(5)) fault += ", mode: shadow";
    faults += (i == 0 ? "" : ", ") + fault + "}";
  }
  return object("nodeproxy.dev/v1", "TrafficPolicy", host,
                "{host: " + host + ", faults: [" + faults + "]" +
                    (one_in(3) ? ", sticky: {header: user}" : std::string()) + "}");
}

std::string PolicyMaker::denial() {
  return object("config.istio.io/v1alpha2", "denier", "refuse",
                "{status: {code: 7, message: refused}}") +
         object("config.istio.io/v1alpha2", "checknothing", "any", "{}") +
         object("config.istio.io/v1alpha2", "rule", "deny",
                "{match: 'destination.service == \"ratings.default.svc.cluster.local\" && "
                "request.headers[\"user\"] == \"b\"', "
                "actions: [{handler: refuse.denier, instances: [any.checknothing]}]}");
}

std::string PolicyMaker::world() {
  std::string out = registry();
  for (const std::string host : {"reviews", "ratings"}) {
    const uint32_t api = dice_.below(8);  // 0-2 old, 3-5 today's, 6 both, 7 none
    if (api <= 2 || api == 6) {
      const uint32_t count = 1 + dice_.below(5);
      for (uint32_t i = 0; i < count; ++i) out += route_rule(host, i);
      if (one_in(3)) out += destination_policy(host, 1);
      if (one_in(4)) out += destination_policy(host, 2);
    }
    if (api >= 3 && api <= 6) out += virtual_service(host, host, "mesh", host);
    if (api != 7 && (api > 2 || one_in(3))) out += destination_rule(host);
    if (one_in(3)) out += traffic_policy(host);
  }
  if (one_in(2)) {
    const std::string hosts = pick({"\"*\"", "shop.example.com", "\"*.example.com\""});
    out += virtual_service("door", hosts, "door", "reviews");
  }
  if (one_in(2)) out += virtual_service("out", "api.example.org", "mesh", "api.example.org");
  if (one_in(3)) out += denial();
  return out;
}

// ---- requests --------------------------------------------------------------------------------

policy::QuestionText PolicyMaker::question() {
  policy::QuestionText text;
  text.from = pick({"front-1", "front-2", "default/reviews-1", "reviews", "version=v2",
                    "192.0.2.77", "10.1.9.1"});
  text.to = pick({"reviews:9080", "ratings:9080", "ratings.default.svc.cluster.local:9080",
                  "reviews.default:9080", "10.96.0.1:9080", "10.96.0.2:9080", "10.1.1.2:9080",
                  "10.1.2.3:9080", "details:9080", "api.example.org:80", "web.example.org:80"});
  if (one_in(8)) {
    text.from = "192.0.2.77";
    text.to = pick({"shop.example.com:8080", "127.0.0.1:8080"});
    if (text.to[0] == '1' && one_in(2)) text.headers.push_back("Host: shop.example.com");
  }
  text.method = pick({"GET", "GET", "GET", "POST", "PUT", "OPTIONS"});
  text.path = pick({"/", "/a", "/a/b", "/b", "/A/b", "/ab", "/a/../b", "/a?x=a", "/a/b?x=b&y=1",
                    "/b/a?", "/c", "/%61/b", "/a//b"});
  if (one_in(40)) text.path = "/a/%00";
  if (one_in(2)) text.headers.push_back("user: " + pick({"a", "b", "ab", "c"}));
  if (one_in(4)) text.headers.push_back("X-Env: " + pick({"a", "ab", "z"}));
  if (one_in(6)) text.headers.push_back("X-Forwarded-Proto: https");
  if (one_in(8)) text.headers.push_back("cookie: c=1; user=a");
  if (one_in(8)) {
    if (one_in(2)) text.method = "OPTIONS";
    text.headers.push_back("origin: " + pick({"http://a.example", "http://b.example"}));
    text.headers.push_back("access-control-request-method: GET");
  }
  if (one_in(12)) text.headers.push_back("x-envoy-upstream-rq-timeout-ms: 900");
  if (one_in(12)) {
    text.headers.push_back("x-envoy-retry-on: 5xx");
    if (one_in(2)) text.headers.push_back("x-envoy-max-retries: 12");
  }
  return text;
}

}  // namespace np::sim
