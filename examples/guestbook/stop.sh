#!/usr/bin/env bash
# Stops what demo.sh or 'make up' started on a data folder, and removes every
# trace of it. What is not there is no error.
#
# usage: stop.sh DATA_DIR
set -euo pipefail

cd "$(dirname "$0")/../.."
data=$(realpath -m "${1:?usage: stop.sh DATA_DIR}")
bin=$(realpath -m "${NAVARCH_BIN_DIR:-bin}")

stop_registry() {
	local file=$data/run/registry.pid pid
	[[ -s $file ]] || return 0
	pid=$(<"$file")
	# After a reboot the number may be another process's.
	if [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == */guestbook-images\ * ]]; then
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
	fi
	rm -f "$file"
}

stop_registry
if [[ ! -x $bin/navarch ]]; then
	[[ ! -e $data/cluster.json ]] && exit 0
	echo "stop: $bin/navarch is needed to remove the cluster in $data: run 'make build' first" >&2
	exit 1
fi
"$bin/navarch" down --purge --data-dir "$data"
