#!/usr/bin/env bash
# Builds deploy/Dockerfile and runs its image; boots deploy/bamba@.service under a systemd of its own, with the image's
# program. For Debian 12: root, its package mirror, podman, debootstrap, systemd-container, curl, ports 8000 and 8001.
#   tools/check_deploy.sh [--build-arg JOBS=2]      arguments go to podman build
# shellcheck disable=SC2317  # `check` and the trap call the functions
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d) tree=$work/tree base=docker.io/library/debian:12-slim image=localhost/bamba-check unit=bamba@8001
bad=0 guest=
cleanup() {
  [[ -z $guest ]] || { kill "$guest" && wait "$guest"; }
  podman rm --force --ignore --volumes bamba-check
  podman rmi --force "$image"
  rm -rf --one-file-system "$work"
}
trap 'cleanup >/dev/null 2>&1 || true' EXIT

check() { if "${@:2}"; then echo "ok      $1"; else echo "FAILED  $1"; bad=1; fi; }
tree_of() { debootstrap --variant=minbase "${@:2}" bookworm "$1" >/dev/null; }
request() {
  curl -sN -H 'Authorization: Bearer sk-check' -H 'Content-Type: application/json' "http://127.0.0.1:$1" "${@:2}"
}
ask() {  # ask PORT FIELDS: the prompt is long enough to leave a snapshot
  local prompt="Once upon a time two rabbits went down the hill to the river, and there they saw a very old turtle."
  request "$1/v1/completions" -d "{\"prompt\": \"$prompt\", $2}"
}
ready() { request "$1/health" -o /dev/null --fail --retry 60 --retry-delay 1 --retry-all-errors; }
answers() { ready "$1" && grep -q "$2" <<<"$(ask "$1" '"max_tokens": 20, "temperature": 0')"; }
stream_ends() {  # stream_ends PORT COMMAND...: COMMAND stops the server in the midst of a reply, which comes to its end
  ask "$1" '"max_tokens": 4000, "ignore_eos": true, "stream": true' >"$work/stream" &
  for _ in {1..100}; do grep -qs data: "$work/stream" && break || sleep 0.1; done
  ! grep -qF '[DONE]' "$work/stream" && "${@:2}" >/dev/null && wait $! && grep -qF '[DONE]' "$work/stream"
}
within() { nsenter --all --target "$(pgrep -P "$guest" -x systemd)" "$@"; }
shows() { [[ $(within systemctl show --property "$1" --value $unit) == "$2" ]]; }
exposed_little() { within systemd-analyze security --threshold=20 --no-pager $unit >"$work/security"; }

if ! podman image exists "$base" && ! podman pull --quiet "$base"; then
  tree_of "$work/base"
  tar -C "$work/base" -c . | podman import --quiet - $base
fi
podman build --layers=false --format docker -f deploy/Dockerfile -t $image "$@" .
podman run --detach --name bamba-check --network host --read-only --cap-drop all $image >/dev/null
check "image: answers" answers 8000 '"cached_tokens":0'
check "image: HEALTHCHECK" podman healthcheck run bamba-check
check "image: user 10001" test "$(podman exec bamba-check id -u)" = 10001
check "image: a reply outlives podman stop" stream_ends 8000 podman stop --time 40 bamba-check
check "image: exit code 0" test "$(podman inspect --format '{{.State.ExitCode}}' bamba-check)" = 0
podman start bamba-check >/dev/null
check "image: snapshots are found again" answers 8000 '"cached_tokens":[1-9]'
podman stop --time 40 bamba-check >/dev/null

tree_of "$tree" --include=systemd,systemd-sysv,dbus,libhwy1,libpcre2-8-0
podman cp bamba-check:/usr/local/. "$tree/usr/local/"
cp deploy/bamba@.service "$tree/etc/systemd/system/"
mkdir "$tree/etc/bamba"
echo BAMBA_MODEL=/usr/local/share/bamba/models/demo >"$tree/etc/bamba/bamba.env"
(umask 077 && echo sk-check >"$tree/etc/bamba/api-keys")
scope=()
[[ -d /run/systemd/system ]] || scope=(--keep-unit)  # no systemd runs here that could make a scope
systemd-nspawn -q -D "$tree" --boot --register=no "${scope[@]}" --console=pipe </dev/null >"$work/boot.log" 2>&1 &
guest=$!
for _ in {1..60}; do within systemctl is-active --quiet multi-user.target 2>/dev/null && break || sleep 1; done
within systemctl start $unit
check "unit: answers with a key" answers 8001 '"cached_tokens":0'
check "unit: 401 without" test "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8001/v1/models)" = 401
check "unit: exposure of 2.0 at the most" exposed_little
check "unit: a reply outlives systemctl stop" stream_ends 8001 within systemctl stop $unit
check "unit: exit code 0" shows Result success
within systemctl start $unit
check "unit: snapshots are found again" answers 8001 '"cached_tokens":[1-9]'
within systemctl kill --signal=KILL $unit
sleep 3
check "unit: kill -9, and it answers again" answers 8001 '"cached_tokens":[1-9]'
check "unit: one restart" shows NRestarts 1
within systemctl stop $unit
echo BAMBA_MODEL=/nowhere >"$tree/etc/bamba/bamba.env"
within systemctl start $unit
sleep 5
check "unit: a wrong path fails" shows ActiveState failed
check "unit: and is not tried again" shows NRestarts 0
exit $bad
