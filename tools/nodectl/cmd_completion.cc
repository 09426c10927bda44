// SPDX-License-Identifier: Apache-2.0
// completion: scripts for bash and zsh. The verbs and kinds are written into the script; names come
// from the daemon when one answers.
#include <set>

#include "base/field.h"
#include "commands.h"
#include "output.h"
#include "policy/object.h"

namespace np::nodectl {
namespace {

std::string words(const std::set<std::string>& all) {
  std::string text;
  for (const std::string& word : all) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) out += ascii_lower(c);
  return out;
}

std::string kind_words() {
  std::set<std::string> kinds = {"all"};
  for (const policy::KindInfo& kind : policy::known_kinds()) kinds.insert(lower(kind.kind));
  return words(kinds);
}

std::string verb_words(bool (*wanted)(const VerbInfo&)) {
  std::set<std::string> verbs;
  for (const VerbInfo& info : verb_infos()) {
    if (wanted(info)) verbs.insert(info.name);
  }
  return words(verbs);
}

std::string alternatives(std::string text) {
  for (char& c : text) {
    if (c == ' ') c = '|';
  }
  return text;
}

const char* const kBash = R"SCRIPT(# bash completion for nodectl: source <(nodectl completion bash)
_nodectl_names() {
  nodectl "${_nodectl_flags[@]}" get "$1" 2>/dev/null | sed -e 1d -e 's/ .*//'
}

_nodectl() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local verb="" kind="" skip="" word
  local -a _nodectl_flags=()
  COMPREPLY=()
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ -n "$skip" ]]; then
      if [[ "$skip" == -n || "$skip" == --namespace || "$skip" == --run-dir ]]; then
        _nodectl_flags+=("$skip" "$word")
      fi
      skip=""
    elif [[ "$word" == -n || "$word" == --namespace || "$word" == --run-dir || "$word" == -o ||
            "$word" == --output || "$word" == -f || "$word" == --filename || "$word" == --from ||
            "$word" == --to || "$word" == --method || "$word" == --path || "$word" == -H ||
            "$word" == --header ]]; then
      skip="$word"
    elif [[ "$word" == -* ]]; then
      continue
    elif [[ -z "$verb" ]]; then
      verb="$word"
    elif [[ -z "$kind" ]]; then
      kind="$word"
    fi
  done
  case "$previous" in
    -f|--filename) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --run-dir) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --from) COMPREPLY=($(compgen -W "$(_nodectl_names pod)" -- "$current")); return ;;
    --to|--method|--path|-H|--header) return ;;
    -o|--output) COMPREPLY=($(compgen -W "table wide yaml json" -- "$current")); return ;;
  esac
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "@FLAGS@" -- "$current"))
    return
  fi
  case "$verb" in
    "") COMPREPLY=($(compgen -W "@VERBS@" -- "$current")) ;;
    @KIND_VERBS@)
      if [[ -z "$kind" ]]; then
        COMPREPLY=($(compgen -W "@KINDS@" -- "$current"))
      else
        COMPREPLY=($(compgen -W "$(_nodectl_names "$kind")" -- "$current"))
      fi ;;
    pod)
      if [[ -z "$kind" ]]; then
        COMPREPLY=($(compgen -W "add list remove" -- "$current"))
      elif [[ "$kind" == remove ]]; then
        COMPREPLY=($(compgen -W "$(_nodectl_names pod)" -- "$current"))
      fi ;;
    acceleration) if [[ -z "$kind" ]]; then COMPREPLY=($(compgen -W "test" -- "$current")); fi ;;
    flows) if [[ -z "$kind" ]]; then COMPREPLY=($(compgen -W "reset" -- "$current")); fi ;;
    guard)
      if [[ -z "$kind" ]]; then
        COMPREPLY=($(compgen -W "attach deny detach limit list status" -- "$current"))
      elif [[ "$kind" == deny ]]; then
        COMPREPLY=($(compgen -W "add del list" -- "$current"))
      fi ;;
    endpoints|uneject) COMPREPLY=($(compgen -W "$(_nodectl_names service)" -- "$current")) ;;
    completion) COMPREPLY=($(compgen -W "bash zsh" -- "$current")) ;;
  esac
}
complete -F _nodectl nodectl
)SCRIPT";

// zsh runs bash's completion functions; one grammar is enough.
const char* const kZshHead = R"SCRIPT(#compdef nodectl
# zsh completion for nodectl: source <(nodectl completion zsh)
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
)SCRIPT";

void replace(std::string& text, const std::string& key, const std::string& value) {
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    text.replace(at, key.size(), value);
    at += value.size();
  }
}

}  // namespace

int run_completion(const Invocation& invocation) {
  std::string script = kBash;
  const auto any = [](const VerbInfo&) { return true; };
  const auto takes_kind = [](const VerbInfo& info) { return info.takes_kind; };
  replace(script, "@VERBS@", verb_words(any));
  replace(script, "@KIND_VERBS@", alternatives(verb_words(takes_kind)));
  replace(script, "@KINDS@", kind_words());
  replace(
      script, "@FLAGS@",
      "--all --all-namespaces --filename --for --from --header --help --ifname --ignore-not-found "
      "--instance --ip --keep --labels --method --mode --namespace --output --path --recursive "
      "--run-dir --to --version");
  if (invocation.shell == "zsh") {
    const size_t first_line = script.find('\n') + 1;
    script.replace(0, first_line, kZshHead);
  }
  print(script);
  return kExitDone;
}

}  // namespace np::nodectl
