#!/bin/sh
# Installs what the benchmarks compare with and load with, when it is missing: nginx, haproxy, wrk.
set -eu

missing=""
for program in nginx haproxy wrk; do
  PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "benchmarks need$missing; there is no apt-get here: install them with your package manager" >&2
  exit 1
fi
run=""
if [ "$(id -u)" != 0 ]; then
  if ! sudo -n true 2>/dev/null; then
    echo "benchmarks need$missing; without root I can't install them. Run: sudo apt-get install$missing" >&2
    exit 1
  fi
  run="sudo"
fi
echo "== installing$missing by apt-get, for the benchmarks only"
$run apt-get update -qq
# Debian starts a freshly installed server at once; policy-rc.d forbids that for this install only.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | $run tee "$policy" >/dev/null; $run chmod +x "$policy"; made=1; }
status=0
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing || status=$?
[ -z "${made:-}" ] || $run rm -f "$policy"
exit "$status"
