#!/usr/bin/env bash
# Shows a cluster at work: three nodes on this machine run the guestbook, whose
# images are built from source and pulled from a registry. It leaves everything
# running; stop.sh removes it. Running it again is harmless.
#
# usage: demo.sh DATA_DIR
#
# NAVARCH_BIN_DIR   folder of navarch, kubectl, runc, … (default: bin/)
# REGISTRY_PORT     the registry's port on the nodes' bridge (default: 5000)
# NAVARCH_*         any flag of 'navarch up', as in NAVARCH_GATEWAY_LISTEN=127.0.0.1:7443
set -euo pipefail

cd "$(dirname "$0")/../.."
data=$(realpath -m "${1:?usage: demo.sh DATA_DIR}")
bin=$(realpath -m "${NAVARCH_BIN_DIR:-bin}")
port=${REGISTRY_PORT:-5000}
nodes=3
export KUBECONFIG=$data/kubeconfig
export PATH=$bin:$PATH

bold='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

fail() {
	printf '\ndemo: %s\n' "$*" >&2
	exit 1
}

show() { # show COMMAND…: prints it as one would type it, then runs it
	local word line=''
	for word; do
		[[ $word == *[\ {}]* ]] && word="'$word'"
		line+=" $word"
	done
	printf '%s$%s%s\n' "$bold" "$line" "$plain"
	"$@" || fail "this command failed: $*
The logs are in $data/logs; 'make down' removes what was started."
}

field() { # field NAME: a number of the cluster's description
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$data/cluster.json"
}

alive() { # alive PIDFILE: whether its process is running
	[[ -s $1 ]] && kill -0 "$(<"$1")" 2>/dev/null
}

start_cluster() {
	heading "A cluster of $nodes nodes on this machine"
	if alive "$data/run/up.pid"; then
		[[ $(field nodes) == "$nodes" ]] || fail "a cluster of $(field nodes) node(s) is running on $data: remove it with 'make down' first"
		echo "It is running already."
	else
		# Nodes are network namespaces: to them, localhost is not this machine.
		show navarch up --nodes "$nodes" --detach --data-dir "$data" \
			--registry-mirror "localhost:5000=http://host.navarch.internal:$port"
	fi
	show kubectl get nodes -o wide
}

start_registry() {
	local address=172.30.$(field slot).1:$port pid=$data/run/registry.pid log=$data/logs/registry.log
	heading "The guestbook's images, built from source, in a registry at $address"
	if alive "$pid"; then
		echo "It is running already."
		return
	fi
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$bin/guestbook-images" ./examples/guestbook/images
	setsid "$bin/guestbook-images" --serve "$address" >"$log" 2>&1 </dev/null &
	echo $! >"$pid"
	until grep -q '^serving' "$log"; do
		alive "$pid" || fail "the registry has ended: $(tail -n 1 "$log")"
		sleep 0.2
	done
	sed "s/^pushed $address/pushed localhost:5000/; /^serving/d" "$log"
}

use_guestbook() {
	local web=http://172.30.$(field slot).11:30080 name=http://web.default.svc.cluster.local
	heading "A visitor signs from outside, through the node port of the first node"
	show curl -fsS -d "Hello from outside, at $(date +%T)" "$web/entries"
	show curl -fsS "$web/entries"
	heading "Another visitor is a pod, and uses the Service's name"
	kubectl delete pod visitor --ignore-not-found # of an earlier run that was stopped
	show kubectl run visitor --image localhost:5000/guestbook/web:v1 --restart Never --command -- \
		/web -post "$name/entries" "Hello from a pod, at $(date +%T)"
	show kubectl wait --for jsonpath='{.status.phase}'=Succeeded pod/visitor --timeout 60s
	show kubectl delete pod visitor
	show kubectl exec deployment/web -- /web -get "$name/entries"
}

start_cluster
start_registry

heading "The guestbook"
show kubectl apply -f examples/guestbook
show kubectl rollout status deployment/store --timeout 120s
show kubectl rollout status deployment/web --timeout 120s
show kubectl get pods -o wide

use_guestbook

heading "Where the time went: one trace from the request to running containers"
show navarch trace deployment/web --data-dir "$data"

heading "It goes on running. What to try next"
cat <<END
export KUBECONFIG=$KUBECONFIG PATH=$bin:\$PATH
curl http://172.30.$(field slot).11:30080/        the guestbook, also for a browser on this machine
kubectl scale deployment/web --replicas 6
kubectl set image deployment/web web=localhost:5000/guestbook/web:none
kubectl rollout undo deployment/web
kubectl logs -f deployment/web
kubectl describe pod -l app.kubernetes.io/name=web
navarch trace deployment/web --data-dir $data
navarch explain pod/NAME --data-dir $data
make down                                 removes every trace of it
END
