# SPDX-License-Identifier: Apache-2.0
# The programs of bpf/, compiled with another layout of their maps: the contract np_abi.h with fields added,
# moved and left out, and another version number. What a daemon of another version leaves in the kernel.
set(np_abi ${PROJECT_SOURCE_DIR}/bpf/abi/np_abi.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${np_abi})
file(READ ${np_abi} np_other)

function(np_change before after)
  string(FIND "${np_other}" "${before}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "tests/bpf/other_layout.cmake: np_abi.h has no '${before}' any more")
  endif()
  string(REPLACE "${before}" "${after}" np_other "${np_other}")
  set(np_other "${np_other}" PARENT_SCOPE)
endfunction()

string(REGEX REPLACE "\nNP_ABI_ASSERT[^\n]*" "" np_other "${np_other}")
np_change("#define NP_ABI_VERSION 2" "#define NP_ABI_VERSION 1000")
np_change("#define NP_CIDR_MAX\t\t4096" "#define NP_CIDR_MAX\t\t8192")
np_change("struct np_live {" "struct np_live {\n__u64 unknown;")
np_change("struct np_pod {" "struct np_pod {\n__u64 unknown;")
np_change("__u64 since_ns;" "")
np_change("__u64 tokens;" "__u64 unknown; __u64 tokens;")
np_change("struct np_svc {" "struct np_svc {\n__u64 unknown;")
np_change("__u16 flags; /* 0 */" "")
np_change("struct np_flow_key {" "struct np_flow_key {\n__u32 ifindex;")
np_change("__u16 dport;\n\t__u32 ifindex;" "__u16 dport;")
np_change("struct np_flow {" "struct np_flow {\n__u64 unknown;")
np_change("struct np_guard_dst {" "struct np_guard_dst {\n__u64 unknown;")
np_change("#define NP_STATS_POD_IN_EXITS(X)" "#define NP_STATS_POD_IN_EXITS(X) X(unknown, \"\")")

set(np_other_dir ${CMAKE_CURRENT_BINARY_DIR}/other)
file(GENERATE OUTPUT ${np_other_dir}/bpf/abi/np_abi.h CONTENT "${np_other}")
np_bpf_object(np_other INCLUDE ${np_other_dir}
  SOURCES ../../bpf/pod_in.bpf.c ../../bpf/pod_out.bpf.c ../../bpf/ret_in.bpf.c ../../bpf/pick.bpf.c ../../bpf/sweep.bpf.c
          ../../bpf/guard.bpf.c)
