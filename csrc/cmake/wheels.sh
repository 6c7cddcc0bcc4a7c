#!/usr/bin/env bash
# Builds and checks manylinux wheels for x86-64 and AArch64, without CUDA and without a container:
# csrc/cmake/wheels.sh [PYTHON...], a wheel per Python (3.11 or later; default: python3) and processor,
# into build/packages. Zig's Clang compiles for an old glibc and links its C++ library statically.
# deal's statistics of random logits are held against those of the extension in deal/: by the wheel itself
# on this processor, and under qemu, with the Python of Debian 12 (3.11), for the other.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=csrc/cmake/common.sh
. csrc/cmake/common.sh

pythons=("$@")
[ "$#" -gt 0 ] || pythons=("${PYTHON:-python3}")
if ! tools; then
  row "skipped: wheels.sh" "" "" "" "PyPI has to be reached, for ziglang and auditwheel"
  exit 0
fi
bin=$packages/tools/bin

# From the files that git knows: setuptools compiles in the folder, and what is built there stays as it is.
copy=$packages/source
rm -rf "$copy" "$packages"/*.whl "$packages/raw"
mkdir "$copy" "$packages/raw"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --directory "$copy"

# wheel PYTHON PROCESSOR: compiles, and names the wheel by the oldest glibc that has all it asks for.
wheel() {
  local python=$1 processor=$2 suffix
  rm -rf "$copy/build"
  suffix=$("$python" -c "import sys; print('.cpython-%d%d-$processor-linux-gnu.so' % sys.version_info[:2])") &&
    (cd "$copy" && DEAL_CUDA=0 DEAL_BUILD_JOBS=${JOBS:-} LDFLAGS=-s CC=$bin/$processor-cc CXX=$bin/$processor-c++ \
      _PYTHON_HOST_PLATFORM=linux-$processor SETUPTOOLS_EXT_SUFFIX=$suffix \
      "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$packages/raw" .) &&
    PATH=$bin:$PATH auditwheel repair --wheel-dir "$packages" "$packages"/raw/*_"$processor".whl &&
    rm "$packages"/raw/*
}

# bits PROCESSOR WHEEL VERSION: what bits.py prints with the wheel, or nothing where it cannot run.
bits() {
  local processor=$1 file=$2 version=$3 folder=$packages/unpacked root=$packages/bookworm-arm64
  rm -rf "$folder"
  "$bin/python" -m zipfile -e "$file" "$folder"
  if [ "$processor" = "$(uname -m)" ]; then
    [ "$version" != "$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ] ||
      PYTHONPATH=$folder "$bin/python" -P csrc/cmake/bits.py "$folder"
  elif [ "$version" = 3.11 ] && command -v qemu-aarch64 >/dev/null &&
    debian_root bookworm arm64 "$root" libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 libffi8 \
      python3.11-minimal libpython3.11-minimal libpython3.11-stdlib; then
    "$bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 \
      --platform manylinux_2_28_aarch64 --dest "$packages/raw" numpy
    "$bin/python" -m zipfile -e "$packages"/raw/numpy*.whl "$folder"
    rm "$packages"/raw/*
    PYTHONHOME=$root/usr PYTHONPATH=$folder in_root arm64 "$root" "$root/usr/bin/python3.11" -P csrc/cmake/bits.py "$folder"
  fi
}

expected=$(PYTHONPATH=$PWD "$bin/python" -P csrc/cmake/bits.py "$PWD")
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  for processor in x86_64 aarch64; do
    log=$packages/wheel-$version-$processor.log
    wheel "$python" "$processor" >"$log" 2>&1 || die "the wheel for $processor cannot be built: see $log"
    file=$(echo "$packages"/deal_score-*-cp"${version/./}"-*_"$processor".whl)
    found=$(bits "$processor" "$file" "$version")
    case $found in
      "$expected" | "${expected/isa=*/isa=neon}") seen="statistics are those of the extension in deal/" ;;
      "") seen="built and inspected, not run: no Python $version of $processor here" ;;
      *) die "$file gives other statistics than the extension in deal/: $found" ;;
    esac
    row "${file##*/}" "$(size "$file")" "" "$(floor "$packages"/unpacked/deal/_native*.so)" "$seen"
  done
done
