#!/bin/sh
# Debian's etcd-server to .peers/etcd, unpacked and not installed, so that nobody need be root.
# Where it can't be had this says so and ends well: tests that need it are skipped then, unless CI is set.
set -u
place=${1:-.peers/etcd}
absent() { echo "no etcd: $1 (tests of several replicas are skipped)"; exit 0; }

if [ -x "$place/bin/etcd" ]; then touch "$place/.ready"; exit 0; fi
mkdir -p "$place/apt/lists/partial" "$place/apt/cache/archives/partial" "$place/bin"
if command -v etcd >/dev/null 2>&1; then
  ln -sf "$(command -v etcd)" "$place/bin/etcd" && touch "$place/.ready"; exit 0
fi
command -v apt-get >/dev/null 2>&1 || absent "there is no apt-get here"
cd "$place" || exit 1
# The system's lists if it has them, else lists of our own.
if ! apt-get download -q etcd-server >apt/log 2>&1; then
  own="-o Acquire::http::Timeout=60 -o Acquire::Retries=2 -o Dir::State::Lists=$PWD/apt/lists -o Dir::Cache=$PWD/apt/cache -o APT::Sandbox::User=$(id -un)"
  # shellcheck disable=SC2086
  { apt-get $own update -q && apt-get $own download -q etcd-server; } >>apt/log 2>&1 ||
    absent "apt-get could not fetch etcd-server: $(tail -n 1 apt/log)"
fi
dpkg -x etcd-server_*.deb unpacked >>apt/log 2>&1 || absent "dpkg could not unpack it: $(tail -n 1 apt/log)"
mv unpacked/usr/bin/etcd bin/etcd && rm -rf unpacked apt etcd-server_*.deb && touch .ready
