#!/usr/bin/env bash
# Waits until a cluster has so many nodes and all are Ready.
#
# usage: wait-ready.sh KUBECONFIG NODES
set -euo pipefail
cd "$(dirname "$0")/.."
kubectl=(bin/kubectl --kubeconfig "$1" --request-timeout 5s)
for ((tries = 120; tries > 0; tries--)); do
	ready=$("${kubectl[@]}" get nodes --no-headers 2>/dev/null | grep -cw Ready || true)
	if ((ready >= $2)); then
		"${kubectl[@]}" get nodes -o wide
		exit 0
	fi
	sleep 1
done
echo "wait-ready: $ready of $2 nodes are Ready" >&2
exit 1
