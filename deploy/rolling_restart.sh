#!/usr/bin/env bash
# Restarts the replicas one after the other; the others answer meanwhile, and running replies come to their end.
#   deploy/rolling_restart.sh 8001 8002 8003
set -euo pipefail

[[ $# -gt 0 ]] || { echo "usage: $0 PORT..." >&2; exit 2; }
patience=${BAMBA_START_SECONDS:-300}
# A proxy that found a replica away leaves it out for a while (2 seconds in nginx.conf). Were the next one stopped
# meanwhile, and then the one after it, none would be left.
pause=${BAMBA_PROXY_SECONDS:-3}

for port in "$@"; do
  echo "bamba@$port: restarting"
  # Returns when the old one has drained and the new one has started.
  systemctl restart "bamba@$port"
  end=$((SECONDS + patience))
  until curl --silent --fail --max-time 2 --output /dev/null "http://127.0.0.1:$port/health"; do
    if ((SECONDS >= end)); then
      echo "bamba@$port: not ready after $patience s; the others were left as they are" >&2
      exit 1
    fi
    sleep 0.5
  done
  echo "bamba@$port: ready"
  sleep "$pause"
done
