# SPDX-License-Identifier: Apache-2.0
# One line per target in the tree: np_library, np_executable, np_test, np_fuzz, np_bpf_object.

macro(np_global_settings)
  set(CMAKE_CXX_STANDARD 20)
  set(CMAKE_CXX_STANDARD_REQUIRED ON)
  set(CMAKE_CXX_EXTENSIONS OFF)
  set(CMAKE_C_STANDARD 11)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
  endif()
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  # -g1 keeps backtraces and profiles readable; full debug information doubles the build time.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
  set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
  set(CMAKE_C_FLAGS_DEBUG "-O0 -g1")
  find_program(NP_CCACHE ccache)
  if(NP_CCACHE)
    set(CMAKE_C_COMPILER_LAUNCHER ${NP_CCACHE})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${NP_CCACHE})
  endif()
  # What every server CPU since 2009 has: heads are read 16 bytes at a time with it. The build for the thread
  # sanitizer goes without, so that its tests see the portable code.
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND NOT NP_SANITIZE STREQUAL "thread")
    add_compile_options(-march=x86-64-v2)
  endif()
  if(NP_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
  elseif(NP_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
  endif()
  if(NP_FUZZ)
    # Coverage in the libraries too: without it libFuzzer sees only the target's own file.
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
  add_library(np_warnings INTERFACE)
  target_compile_options(np_warnings INTERFACE -Wall -Wextra -Wshadow -Wconversion -Werror)
  # g++ 12 at -O3 sees overlapping copies in "text" + std::string (GCC bug 105651), and members of a
  # variant's other alternatives as uninitialized when it is moved (of the family of GCC bug 80635).
  target_compile_options(np_warnings INTERFACE
    "$<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<CONFIG:Release>>:-Wno-restrict;-Wno-maybe-uninitialized>")
  # A file compiled with others is not the main one, so g++ takes its anonymous namespace for a header's.
  target_compile_options(np_warnings INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endmacro()

# np_add_room(ROOM FOLDER): adds the folder when the room is part of this build. NP_ROOMS (a list; empty
# means all) lets the sanitizer builds take the engine's rooms only.
function(np_add_room room folder)
  if(NP_ROOMS AND NOT room IN_LIST NP_ROOMS)
    return()
  endif()
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/CMakeLists.txt)
    add_subdirectory(${folder})
  endif()
endfunction()

# np_cold(NAME LEVEL): code that no request runs through need not be optimized as long as the rest:
# templates of JSON and of the test framework make most of the build's time.
function(np_cold name level)
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:${level}>)
endfunction()

# np_together(NAME): several files in one compilation. Their headers make most of its time, so a clean
# build takes half as long; the build that compiles each file alone is the preset clang's.
option(NP_TOGETHER "compile a target's files together" ON)
set(NP_TOGETHER_SIZE 6 CACHE STRING "so many files in one compilation; more: faster from nothing, slower after a change")
function(np_together name)
  if(NP_TOGETHER)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${NP_TOGETHER_SIZE})
  endif()
endfunction()

# np_hot(NAME): code that requests run through. A release learns from a training run which of it is used how
# (tools/release): what follows each other lies together, and what is called often is inlined across files.
set(NP_PROFILE "" CACHE STRING "of hot code: generate, use (what generate left in this build folder), or empty")
function(np_hot name)
  if(NOT NP_PROFILE)
    return()
  endif()
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    message(FATAL_ERROR "NP_PROFILE needs g++")
  endif()
  # Not through ccache: a profile fits the very object that made it.
  set_target_properties(${name} PROPERTIES C_COMPILER_LAUNCHER "" CXX_COMPILER_LAUNCHER "")
  if(NP_PROFILE STREQUAL "generate")
    target_compile_options(${name} PRIVATE -fprofile-generate)
    target_link_options(${name} PUBLIC -fprofile-generate)
  elseif(NP_PROFILE STREQUAL "use")
    target_compile_options(${name} PRIVATE -fprofile-use -fprofile-correction -Wno-missing-profile -flto=auto)
    # What g++ 12 suspects of inlined lengths when it optimizes at the end, it has not said of the files.
    target_link_options(${name} PUBLIC -flto=auto -Wno-stringop-overread -Wno-stringop-overflow)
  else()
    message(FATAL_ERROR "NP_PROFILE is \"${NP_PROFILE}\": generate, use or nothing")
  endif()
endfunction()

# np_library(NAME SOURCES a.cc... [PUBLIC dep...] [PRIVATE dep...] [COLD])
# Headers are found from daemon/ ("http/codec.h") and from the top ("policy/model.h", "bpf/abi/...").
function(np_library name)
  cmake_parse_arguments(ARG "COLD" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/daemon ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE np_warnings ${ARG_PRIVATE})
  if(ARG_COLD)
    np_cold(${name} -O1)
  endif()
  np_together(${name})
endfunction()

function(np_executable name)
  cmake_parse_arguments(ARG "COLD" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/daemon ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE np_warnings ${ARG_LINK})
  if(ARG_COLD)
    np_cold(${name} -O1)
  endif()
  np_together(${name})
endfunction()

# np_test(NAME LABEL unit|bpf|sim SOURCES a_test.cc... LINK lib... [HOT] [SERIAL]): each TEST() is
# one ctest entry. HOT: the test's own code is optimized too. SERIAL: beside nothing else. Sanitized, a whole program is one entry, because
# each start of one takes longer than most tests; what it counted is in gtest/*.xml. APART: a suite that
# forks, each test of which stays a process of its own: no other one may have left a thread.
function(np_test name)
  cmake_parse_arguments(ARG "HOT;SERIAL" "LABEL;TIMEOUT;APART" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/daemon ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE np_warnings ${ARG_LINK} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE NP_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_HOT)
    np_cold(${name} -O0)
  endif()
  np_together(${name})
  if(NP_SANITIZE)
    set(others "*")
    if(ARG_APART)
      set(others "-${ARG_APART}.*")
      gtest_discover_tests(${name} TEST_PREFIX ${ARG_LABEL}. TEST_FILTER "${ARG_APART}.*"
                           DISCOVERY_TIMEOUT 60 XML_OUTPUT_DIR ${CMAKE_BINARY_DIR}/gtest
                           PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
    endif()
    np_whole_test(${name} ${ARG_LABEL} ${ARG_TIMEOUT} ${name} "${others}")
    return()
  endif()
  gtest_discover_tests(${name} TEST_PREFIX ${ARG_LABEL}. DISCOVERY_TIMEOUT 60
                       PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL ${ARG_SERIAL})
endfunction()

function(np_whole_test entry label cost program filter)
  add_test(NAME ${label}.${entry} COMMAND ${program} --gtest_filter=${filter}
           --gtest_output=xml:${CMAKE_BINARY_DIR}/gtest/${entry}.xml)
  # The long ones first.
  set_tests_properties(${label}.${entry} PROPERTIES LABELS ${label} TIMEOUT 600 COST ${cost})
endfunction()

# np_script_test(NAME LABEL e2e COMMAND program args...): one ctest entry.
function(np_script_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "COMMAND" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_test(NAME ${ARG_LABEL}.${name} COMMAND ${ARG_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${ARG_LABEL}.${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "NP_BUILD_DIR=${CMAKE_BINARY_DIR}")
endfunction()

# np_fuzz(NAME SOURCES a.cc LINK lib...): a libFuzzer target; its corpus is tests/fuzz/corpus/NAME.
function(np_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/daemon ${PROJECT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE np_warnings ${ARG_LINK})
endfunction()

# np_bpf_object(NAME SOURCES a.bpf.c... [INCLUDE dir]): compiles each file for the BPF target, links them into one
# object and generates NAME.skel.h. Link the target NAME_skel to include it. An error in any step
# fails the build; so does an object too small to hold a program.
function(np_bpf_object name)
  cmake_parse_arguments(ARG "" "INCLUDE" "SOURCES" ${ARGN})
  set(first)
  if(ARG_INCLUDE)
    set(first -I${ARG_INCLUDE})
  endif()
  find_program(NP_BPF_CLANG NAMES clang clang-14 REQUIRED)
  find_program(NP_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)
  set(objects)
  foreach(source ${ARG_SOURCES})
    get_filename_component(stem ${source} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.${stem}.bpf.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${NP_BPF_CLANG} -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror
              ${first} -I${PROJECT_SOURCE_DIR} -idirafter /usr/include/${CMAKE_C_LIBRARY_ARCHITECTURE}
              -MD -MF ${object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source} DEPFILE ${object}.d
      COMMENT "BPF ${source}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(linked ${CMAKE_CURRENT_BINARY_DIR}/${name}.linked.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  add_custom_command(OUTPUT ${skeleton}
    COMMAND ${NP_BPFTOOL} gen object ${linked} ${objects}
    COMMAND test $$\(wc -c < ${linked}\) -gt 4096
    COMMAND ${NP_BPFTOOL} gen skeleton ${linked} name ${name} > ${skeleton}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${skeleton}.new ${skeleton}
    DEPENDS ${objects} COMMENT "BPF skeleton ${name}")
  add_custom_target(${name}_generated DEPENDS ${skeleton})
  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_generated)
  target_include_directories(${name}_skel SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
