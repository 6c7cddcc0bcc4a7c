#!/usr/bin/env bash
# Builds and checks the Debian packages of the C library: csrc/cmake/debs.sh amd64|arm64 [--quick]
# The packages go to build/packages. What is checked, with the packages unpacked into a folder: names,
# symbols and what lintian says; examples/consumer prints one line, by find_package and by pkg-config,
# shared and static; find_package refuses other versions. Without --quick besides: the C tests, and
# the consumer with the glibc of Debian 11. arm64 is compiled by Debian's cross compiler and run by qemu.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=csrc/cmake/common.sh
. csrc/cmake/common.sh

name=${1:-}
quick=${2:-}
[[ $name =~ ^(amd64|arm64)$ ]] || die "usage: csrc/cmake/debs.sh amd64|arm64 [--quick]"
system=$(triplet "$name")
build=$packages/cmake-$name
root=$packages/root-$name
libraries=$root/usr/lib/$system

needs cmake cmake ninja ninja-build dpkg-deb dpkg pkg-config pkg-config readelf binutils
if [ "$(uname -m)" = "${system%%-*}" ]; then
  cross=()
  gcc=(gcc)
  run=(env "LD_LIBRARY_PATH=$libraries")
elif [ "$name" = arm64 ]; then
  needs aarch64-linux-gnu-g++ g++-aarch64-linux-gnu qemu-aarch64 qemu-user
  cross=("-DCMAKE_TOOLCHAIN_FILE=$PWD/csrc/cmake/aarch64.cmake")
  gcc=(aarch64-linux-gnu-gcc)
  run=(qemu-aarch64 -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$libraries")
else
  die "amd64 packages are made on x86-64"
fi

pack() {
  local deb
  rm -rf "$root"
  rm -f "$build"/*.deb "$packages"/*_"$name".deb
  cmake -S . -B "$build" -G Ninja "${cross[@]}" &&
    cmake --build "$build" -- -j "${JOBS:-$(nproc)}" &&
    (cd "$build" && cpack -G DEB) &&
    cp "$build"/*.deb "$packages" || return 1
  for deb in "$build"/*.deb; do dpkg -x "$deb" "$root" || return 1; done
}

check_library() {
  library=$(readlink -f "$libraries/libdeal.so.1")
  readelf -d "$library" | grep -q 'soname: \[libdeal.so.1\]' || die "$library has another soname"
  glibc=$(floor "$library")
  at_most "$glibc" 2.31 ||
    die "glibc above 2.31 is needed for $(nm -D "$library" | grep -oE "\S+@GLIBC_2\.3([2-9]|[0-9]{2})" | tr '\n' ' '):" \
      "see csrc/cmake/glibc_floor.cmake, or use older functions"
  at_most "$(floor "$library" GLIBCXX)" 3.4.21 ||
    die "$library needs a newer libstdc++ than libdeal1 depends on: see csrc/cmake/packages.cmake"
  if nm -D --defined-only "$library" | grep -v ' T deal_'; then die "$library exports more than the C interface"; fi
  lint="lintian skipped: apt-get install lintian"
  command -v lintian >/dev/null || return 0
  # The changelog of a package of Debian's own would close a bug.
  lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs --allow-root \
    "$packages"/*_"$name".deb || die "lintian objects"
  lint="lintian has no objection"
}

# Compiles and runs examples/consumer in six ways; their lines go to a file.
check_consumers() {
  local static consumer flags lines=$packages/lines-$name
  : >"$lines"
  for static in OFF ON; do
    consumer=$packages/consumer-$name-$static
    rm -rf "$consumer"
    cmake -S examples/consumer -B "$consumer" -G Ninja "${cross[@]}" \
      -DCMAKE_PREFIX_PATH="$root/usr" -DLINK_STATIC="$static" >/dev/null
    cmake --build "$consumer" >/dev/null
    "${run[@]}" "$consumer/consumer" >>"$lines"
    "${run[@]}" "$consumer/consumer_cpp" >>"$lines"
  done
  for static in "" --static; do
    consumer=$packages/consumer-$name-pkg-config$static
    read -ra flags <<<"$(PKG_CONFIG_LIBDIR=$libraries/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
      pkg-config $static --cflags --libs deal)"
    "${gcc[@]}" ${static:+-static} -std=c11 -Wall -Wextra -Werror examples/consumer/consumer.c "${flags[@]}" -o "$consumer"
    "${run[@]}" "$consumer" >>"$lines"
  done
  line=$(sort -u "$lines")
  [ "$(wc -l <"$lines") $(wc -l <<<"$line")" = "6 1" ] || die "consumers print different lines: $lines"
}

# Every public header is installed, and needs no other before it.
check_headers() {
  local header
  for header in csrc/abi/deal*.h csrc/abi/deal*.hpp; do
    header=$root/usr/include/${header##*/}
    case $header in
      *.hpp) "${gcc[@]}" -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -include "$header" /dev/null ;;
      *) "${gcc[@]}" -x c -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -include "$header" /dev/null ;;
    esac
  done
}

check_versions() {
  local folder=$packages/refused-$name
  rm -rf "$folder"
  mkdir "$folder"
  cat >"$folder/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(refused CXX)
foreach(version 0.2 1.9999 2)
  find_package(deal ${version} QUIET)
  if(deal_FOUND OR NOT deal_CONSIDERED_VERSIONS)
    message(FATAL_ERROR "asked for ${version}, found ${deal_VERSION}")
  endif()
endforeach()
END
  cmake -S "$folder" -B "$folder" -G Ninja "${cross[@]}" -DCMAKE_PREFIX_PATH="$root/usr" >"$folder/log" 2>&1 ||
    die "find_package accepts another version, or finds none: $folder/log"
}

check_tests() {
  local source test options
  for source in tests/c/test_*.c; do
    test=$(basename "$source" .c)
    "${gcc[@]}" -O2 -std=c11 -I"$root/usr/include" -Icsrc/abi "$source" \
      -L"$libraries" -ldeal -lm -pthread -o "$packages/$test-$name"
    options=()
    if [ "${run[0]}" != env ]; then  # what qemu cannot do
      [ "$test" != test_deal ] || options=(--no-fork)
      [ "$test" != test_isa ] || options=(neon)
    fi
    "${run[@]}" "$packages/$test-$name" "${options[@]}" >"$packages/$test-$name.log" 2>&1 ||
      die "$test fails: $packages/$test-$name.log"
  done
  seen+=", C tests pass"
}

check_old_system() {
  local old=$packages/bullseye-$name consumer=$packages/consumer-$name-old
  if ! tools; then
    seen+=", Debian 11 skipped: PyPI has to be reached for ziglang"
  elif ! debian_root bullseye "$name" "$old" libc6 libstdc++6 libgcc-s1; then
    seen+=", Debian 11 skipped: needs apt-get and deb.debian.org"
  else
    "$packages/tools/bin/${system%%-*}-cc" -I"$root/usr/include" examples/consumer/consumer.c \
      -L"$libraries" -ldeal -o "$consumer"
    [ "$(LIBRARIES=$libraries in_root "$name" "$old" "$consumer")" = "$line" ] ||
      die "the library prints another line on Debian 11"
    seen+=", also on Debian 11"
  fi
}

log=$packages/debs-$name.log
pack >"$log" 2>&1 || die "the packages cannot be built: see $log"
check_library
check_headers
check_consumers
check_versions
seen="six consumers: $line"
if [ -z "$quick" ]; then
  check_old_system
  check_tests
fi
for deb in "$packages"/*_"$name".deb; do
  case $deb in
    *-dev_*) row "${deb##*/}" "$(size "$deb")" "" "" "$lint" ;;
    *) row "${deb##*/}" "$(size "$deb")" "${library##*/}" "$glibc" "$seen" ;;
  esac
done
