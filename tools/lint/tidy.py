#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The house rules as a test: who may include whom, sizes, names that are banned where.

Prints FILE:LINE: what is wrong and what to do instead. Exit 1 when anything was found.
docs/style.md explains each rule; EXCEPTIONS below carry their reason.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Room -> rooms whose headers it may include (itself and base are always allowed).
MAY_INCLUDE = {
    "base": set(),
    "http": set(),
    "tls": set(),
    "proxy": {"http", "policy"},
    "policy": set(),
    "uring": set(),
    "overload": set(),
    # uring: the self-test of acceleration asks io_uring, too, whether it is woken (WakeProbe).
    "kernel": {"bpf", "control", "uring"},
    "shard": {"overload", "proxy", "http", "tls", "uring", "policy", "bpf", "control"},
    "control": {"policy"},
    "metrics": set(),
    "admin": {"metrics"},
    "nodectl": {"policy", "control"},
    "main": {"overload", "control", "metrics", "admin", "shard", "kernel", "policy", "proxy"},
}

# Third-party headers and the rooms that may use each.
THIRD_PARTY = {
    "liburing.h": {"uring"},
    "llhttp.h": {"http"},
    "nghttp2/": {"http"},
    "openssl/": {"tls"},
    "bpf/bpf.h": {"kernel"},
    "bpf/libbpf.h": {"kernel"},
    "yaml-cpp/": {"policy"},
    "re2/": {"policy"},
    "ares.h": {"control"},
    "spdlog/": {"base"},
    "prometheus/": {"metrics", "admin"},
    "civetweb.h": {"admin"},
    "CivetServer.h": {"admin"},
    "CLI/": {"nodectl", "main"},
    "nlohmann/": {"control", "nodectl", "admin"},
    "seccomp.h": {"kernel"},
}

ENGINE_ROOMS = {"http", "tls", "proxy", "policy"}
LOCK_FREE_ROOMS = {"http", "tls", "proxy", "uring"}

BANNED_IN_ENGINE = [
    (re.compile(r"\b(monotonic_now|wall_clock_ns|clock_gettime|steady_clock::now|system_clock::now)\b"),
     "the engine reads no clock: take an Instant from the caller"),
    (re.compile(r"#include <(sys/socket|unistd|fcntl|sys/epoll|poll)\.h>"),
     "the engine makes no system call: answer with an Action"),
    (re.compile(r"\b(rand|random_device|getrandom)\s*\("), "take an np::Rng from the caller"),
]
BANNED_EVERYWHERE = [
    (re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), "open an issue, or do it"),
    (re.compile(r"\bco_(await|yield|return)\b"), "no coroutines: g++ 12.2 miscompiles them (docs/style.md)"),
    (re.compile(r"using namespace std(;|::(?!\w*literals))"), "name what you use"),
    (re.compile(r"\bstrto(l|ul|ll|ull)\s*\(|\bato[il]\s*\("), "use std::from_chars and check its end"),
    (re.compile(r"\b(sprintf|strcpy|strcat)\s*\("), "use std::string or snprintf with a size"),
    (re.compile(r"std::function<.*> .*op", re.I), "an intrusive op with a function pointer (style 3.1)"),
]

LINE_MAX = 100
FUNCTION_MAX = 70
FILE_MAX = 500
HEADER_MAX = 250
BLOB_MAX = 256 * 1024

# path -> reason. Sizes only; nothing else has exceptions.
EXCEPTIONS = {
    "bpf/abi/np_abi.h": "the one contract between kernel and daemon: every map in one place, by design",
    "policy/model.h": "one model, read as one table: splitting it would hide what the engine can express",
}

problems: list[str] = []
public_headers: set[str] = set()  # headers of a room that another room includes


def find_public_headers(paths: list[Path]) -> None:
    for path in paths:
        if path.suffix not in (".h", ".cc") or path.relative_to(ROOT).parts[0] == "tests":
            continue
        for include in re.findall(r'#include "([^"]+)"', path.read_text(encoding="utf-8")):
            for candidate in (ROOT / "daemon" / include, ROOT / include):
                if candidate.is_file() and room_of(candidate) != room_of(path):
                    public_headers.add(str(candidate.relative_to(ROOT)))


def report(path: Path, line: int, message: str) -> None:
    problems.append(f"{path.relative_to(ROOT)}:{line}: {message}")


def tracked_files() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    return [ROOT / name for name in names.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def room_of(path: Path) -> str | None:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "daemon":
        return "main" if len(parts) == 2 else parts[1]
    if parts[0] == "policy":
        return "policy"
    if parts[:2] == ("tools", "nodectl"):
        return "nodectl"
    return None


def target_room(include: str) -> str | None:
    """The room that a quoted include names, or None for a header of the same folder."""
    first = include.split("/")[0]
    return first if "/" in include else None


def check_includes(path: Path, lines: list[str]) -> None:
    room = room_of(path)
    if room is None:
        return
    for number, line in enumerate(lines, 1):
        quoted = re.match(r'\s*#include "([^"]+)"', line)
        angled = re.match(r"\s*#include <([^>]+)>", line)
        if quoted:
            target = target_room(quoted.group(1))
            if target not in (None, room, "base") and target not in MAY_INCLUDE.get(room, set()):
                report(path, number, f"{room} may not include {quoted.group(1)} (docs/style.md, rooms)")
        if angled:
            check_third_party(path, number, room, angled.group(1))


def check_third_party(path: Path, number: int, room: str, header: str) -> None:
    for prefix, rooms in THIRD_PARTY.items():
        if header.startswith(prefix) and room not in rooms:
            report(path, number, f"<{header}> belongs to {', '.join(sorted(rooms))}; wrap it there")
        if header.startswith(prefix) and str(path.relative_to(ROOT)) in public_headers:
            report(path, number, f"<{header}> in a header that other rooms include: forward-declare it")


def check_banned(path: Path, lines: list[str]) -> None:
    room = room_of(path)
    for number, line in enumerate(lines, 1):
        code = line.split("//")[0] if room in ENGINE_ROOMS else line
        for pattern, advice in BANNED_EVERYWHERE:
            if pattern.search(line):
                report(path, number, f"'{pattern.search(line).group(0)}': {advice}")
        if room in ENGINE_ROOMS:
            for pattern, advice in BANNED_IN_ENGINE:
                if pattern.search(code):
                    report(path, number, f"'{pattern.search(code).group(0)}': {advice}")
        if room in LOCK_FREE_ROOMS and re.search(r"#include <(mutex|shared_mutex|condition_variable)>", line):
            report(path, number, "no locks here: hand a message to the owner (docs/threading.md)")


def check_sizes(path: Path, lines: list[str]) -> None:
    relative = str(path.relative_to(ROOT))
    limit = HEADER_MAX if path.suffix == ".h" else FILE_MAX
    if len(lines) > limit and relative not in EXCEPTIONS:
        report(path, len(lines), f"{len(lines)} lines, limit {limit}: split by responsibility")
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8 if relative.startswith("bpf/") else 4)) > LINE_MAX:
            report(path, number, f"line longer than {LINE_MAX}")


FUNCTION_START = re.compile(r"^[A-Za-z_].*\)\s*(const|noexcept|override|final|mutable|\s|->.*)*\{$")


def check_functions(path: Path, lines: list[str]) -> None:
    """Functions at namespace level, as clang-format lays them out: the body ends with '}' in column 0."""
    start = None
    name = ""
    for number, line in enumerate(lines, 1):
        if start is None and line.endswith("{") and not line.startswith((" ", "\t", "#", "namespace", "}")):
            if re.match(r"^(class|struct|enum|union|extern|static const|constexpr|const|inline constexpr)\b", line) \
                    and "(" not in line:
                continue
            start, name = number, line.strip()
        elif start is not None and line.startswith("}"):
            length = number - start + 1
            is_function = "(" in name or FUNCTION_START.match(name) or ")" in lines[start - 1]
            if is_function and length > FUNCTION_MAX and not name.startswith(("TEST", "class", "struct")):
                report(path, start, f"function of {length} lines, limit {FUNCTION_MAX}: {name[:60]}")
            start = None


def check_spdx(path: Path, lines: list[str]) -> None:
    if not any("SPDX-License-Identifier:" in line for line in lines[:3]):
        report(path, 1, "no SPDX line; use // SPDX-License-Identifier: Apache-2.0 (bpf/: dual)")
    if str(path.relative_to(ROOT)).startswith("bpf/") and path.suffix in (".h", ".c"):
        if not any("GPL-2.0" in line and "BSD-2-Clause" in line for line in lines[:3]):
            report(path, 1, "bpf/ is (BSD-2-Clause OR GPL-2.0-only)")


def check_python(path: Path, lines: list[str]) -> None:
    if len(lines) > FILE_MAX:
        report(path, len(lines), f"{len(lines)} lines, limit {FILE_MAX}: split by responsibility")
    start, indent, name = None, 0, ""
    for number, line in enumerate([*lines, "end"], 1):
        if start is not None and line.strip() and len(line) - len(line.lstrip()) <= indent \
                and not line.lstrip().startswith((")", "]", "}", "#", '"""')):
            if number - start > FUNCTION_MAX + 1:
                report(path, start, f"function of {number - start} lines, limit {FUNCTION_MAX}: {name}")
            start = None
        match = re.match(r"^(\s*)def (\w+)", line)
        if match and start is None:
            start, indent, name = number, len(match.group(1)), match.group(2)


def check_header_guard(path: Path, lines: list[str]) -> None:
    if path.suffix == ".h" and not any(line.startswith(("#pragma once", "#ifndef")) for line in lines[:60]):
        report(path, 1, "no #pragma once")


def check_file(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    if path.stat().st_size > BLOB_MAX:
        report(path, 1, f"{path.stat().st_size} bytes: no blobs above {BLOB_MAX} in the tree")
    if path.suffix in (".h", ".cc", ".c"):
        lines = path.read_text(encoding="utf-8").splitlines()
        check_spdx(path, lines)
        check_sizes(path, lines)
        check_includes(path, lines)
        check_functions(path, lines)
        check_header_guard(path, lines)
        check_banned(path, lines)
    elif path.suffix == ".py" and relative != "tools/lint/tidy.py":
        lines = path.read_text(encoding="utf-8").splitlines()
        check_spdx(path, lines)
        check_python(path, lines)


CONSTANT = re.compile(r"^(inline )?(?:static )?(?:constexpr|const) [\w:<>*& ]*?\b(k[A-Z]\w*)(?:\[\])?\s*[={]")


def check_hidden_constants(paths: list[Path]) -> None:
    """A file's own constant hides a header's of that name, without a word from the compiler, for every file
    that is compiled together with it."""
    shared: dict[str, set[Path]] = {}  # by name
    own: list[tuple[Path, int, str]] = []
    included: dict[Path, set[str]] = {}  # by folder: headers
    for path in paths:
        if path.suffix not in (".h", ".cc"):
            continue
        text = path.read_text()
        included.setdefault(path.parent, set()).update(re.findall(r'#include "(?:.*/)?([^"/]+)"', text))
        for number, line in enumerate(text.splitlines(), 1):
            found = CONSTANT.match(line)
            if found and path.suffix == ".h" and found.group(1):
                shared.setdefault(found.group(2), set()).add(path)
            elif found and path.suffix == ".cc":
                own.append((path, number, found.group(2)))
    for path, number, name in own:
        for header in shared.get(name, set()):
            near = header.parent == path.parent or header.parent.name == "support"
            if near and header.name in included[path.parent]:
                report(path, number, f"{name} hides the one of {header.name}: use that, or another name")


def check_test_names(paths: list[Path]) -> None:
    """End-to-end tests run at once: a name that two of them have is a daemon that one ends for the other."""
    seen: dict[str, Path] = {}
    for path in paths:
        if path.suffix != ".py" or path.parent.name not in ("e2e", "support") or "tests" not in path.parts:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'    (?:NAME|INSTANCE) = "(np\w+)"', line)
            if found and seen.setdefault(found.group(1), path) != path:
                report(path, number, f"{found.group(1)} is the name of {seen[found.group(1)].name} already")


def main() -> int:
    paths = tracked_files()
    check_test_names(paths)
    check_hidden_constants(paths)
    find_public_headers(paths)
    for path in paths:
        check_file(path)
    for problem in sorted(problems):
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
