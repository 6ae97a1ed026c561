#!/bin/sh
# Debian's nft to .peers/nft, unpacked and not installed, so that nobody need be root.
# Where it can't be had this says so and ends well: tests that need it are skipped then, unless CI is set.
set -u
place=${1:-.peers/nft}
packages="nftables libnftables1 libnftnl11 libjansson4 libxtables12 libmnl0 libedit2 libbsd0 libgmp10"
absent() { echo "no nft: $1 (the test with redirected connections is skipped)"; exit 0; }

if [ -x "$place/nft" ]; then touch "$place/.ready"; exit 0; fi
mkdir -p "$place/apt/lists/partial" "$place/apt/cache/archives/partial"
if found=$(PATH="$PATH:/usr/sbin" command -v nft); then
  ln -sf "$found" "$place/nft" && touch "$place/.ready"; exit 0
fi
command -v apt-get >/dev/null 2>&1 || absent "there is no apt-get here"
cd "$place" || exit 1
# The system's lists if it has them, else lists of our own.
# shellcheck disable=SC2086
if ! apt-get download -q $packages >apt/log 2>&1; then
  own="-o Acquire::http::Timeout=60 -o Acquire::Retries=2 -o Dir::State::Lists=$PWD/apt/lists -o Dir::Cache=$PWD/apt/cache -o APT::Sandbox::User=$(id -un)"
  { apt-get $own update -q && apt-get $own download -q $packages; } >>apt/log 2>&1 ||
    absent "apt-get could not fetch it: $(tail -n 1 apt/log)"
fi
for package in *.deb; do
  dpkg -x "$package" root >>apt/log 2>&1 || absent "dpkg could not unpack it: $(tail -n 1 apt/log)"
done
libraries=$(dirname "$(find "$PWD/root" -name 'libnftables.so.1' | head -n 1)")
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/root/usr/sbin/nft "$@"\n' "$libraries" "$PWD" >nft
chmod +x nft && rm -rf apt ./*.deb && touch .ready
