#!/usr/bin/env bash
# Runs docker-compose.yml for real: the guestbook is deployed, written and read.
# dockerd runs for this test alone, in a network namespace of its own, so that
# neither its rules nor its links meet what else is on the machine.
#
# The images' programs must have been built: use 'make compose-test'.
set -euo pipefail

cd "$(dirname "$0")/.."
work=$(mktemp -d /tmp/navarch-compose-XXXXXX)
ns=${work##*/}
export DOCKER_HOST=unix://$work/docker.sock COMPOSE_PROJECT_NAME=navarch-test NAVARCH_PORT=6443
export KUBECONFIG=$PWD/.compose/kubeconfig

if ! command -v dockerd >/dev/null || ! command -v docker-compose >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io docker-compose >/dev/null
fi
compose=(docker-compose)
if docker compose version >/dev/null 2>&1; then compose=(docker compose); fi

inside() { nsenter --net="/run/netns/$ns" "$@"; }

clean_up() {
	local status=$?
	if ((status != 0)); then "${compose[@]}" logs --tail 30 || true; fi
	"${compose[@]}" down --volumes --timeout 3 >/dev/null 2>&1 || true
	if [[ -s $work/dockerd.pid ]]; then
		local pid
		pid=$(<"$work/dockerd.pid")
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
	fi
	ip netns delete "$ns"
	rm -rf "$work" .compose
	exit "$status"
}

ip netns add "$ns"
trap clean_up EXIT
inside ip link set lo up
inside dockerd --data-root "$work/data" --exec-root "$work/run" --pidfile "$work/dockerd.pid" \
	--host "$DOCKER_HOST" --default-cgroupns-mode host >"$work/dockerd.log" 2>&1 &
for ((tries = 60; tries > 0; tries--)); do
	docker version >/dev/null 2>&1 && break
	sleep 0.5
done
docker version >/dev/null 2>&1 || { tail -n 5 "$work/dockerd.log" >&2; exit 1; }

"${compose[@]}" build --quiet
"${compose[@]}" up -d
inside ./packaging/wait-ready.sh "$KUBECONFIG" 2

kubectl() { inside bin/kubectl "$@"; }
kubectl apply -f examples/guestbook
kubectl rollout status deployment/store deployment/web --timeout 120s
kubectl get pods -o wide
inside curl -fsS --max-time 20 -d 'Hello from outside' http://172.31.77.11:30080/entries
kubectl exec deployment/web -- /web -post http://web.default.svc.cluster.local/entries 'Hello from a pod'
want=$'Hello from outside\nHello from a pod'
for read in "inside curl -fsS --max-time 20 http://172.31.77.12:30080/entries" \
	"kubectl exec deployment/web -- /web -get http://web/entries"; do
	got=$($read)
	[[ $got == "$want" ]] || { printf 'read by %s:\n%s\n' "$read" "$got" >&2; exit 1; }
done
[[ $(kubectl get pods -o jsonpath='{.items[*].spec.nodeName}') == *node-1*node-2* ||
	$(kubectl get pods -o jsonpath='{.items[*].spec.nodeName}') == *node-2*node-1* ]]

# A service of which there are two may go.
"${compose[@]}" stop store-1 etcd-1
kubectl scale deployment/web --replicas 4
kubectl rollout status deployment/web --timeout 60s
echo "compose-test: passed"
