# Navarch. `make demo` shows it, `make test` tests it, `make down` removes the demo.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

BIN := $(CURDIR)/bin
GO ?= go
GO_BUILD := CGO_ENABLED=0 $(GO) build -trimpath
TOOL := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
LINT := $(GO) tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
KUBECTL_VERSION := v1.37.2
PLUGINS := bridge host-local loopback portmap
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
DEMO_DIR ?= $(CURDIR)/.navarch

MODEL_EFFORT ?= 30
.PHONY: build navarch node-tools kubectl grpcurl clients packages demo up down images image-programs compose-up compose-down compose-test test unit integration test-cgroup2 model bench bench-peers peers lint generate check-generated fmt clean

## build: navarch, its shim, kubectl, runc and the CNI plugins, into bin/
build: navarch kubectl node-tools

navarch:
	$(GO_BUILD) -ldflags '-s -w -X navarch.dev/navarch/internal/version.linked=$(VERSION)' -o $(BIN)/navarch ./cmd/navarch
	$(GO_BUILD) -ldflags '-s -w' -o $(BIN)/navarch-shim ./cmd/navarch-shim

kubectl:
	$(GO_BUILD) -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBECTL_VERSION) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37' -o $(BIN)/kubectl ./cmd/kubectl

node-tools: packages
	CGO_ENABLED=1 $(GO) -C tools/node build -trimpath -tags 'seccomp netgo osusergo' -ldflags '-s -w -extldflags "-static"' -o $(BIN)/runc github.com/opencontainers/runc
	$(foreach p,$(filter-out host-local,$(PLUGINS)),CGO_ENABLED=0 $(GO) -C tools/node build -trimpath -ldflags '-s -w' -o $(BIN)/cni/$(p) github.com/containernetworking/plugins/plugins/$(if $(filter portmap,$(p)),meta,main)/$(p);)
	CGO_ENABLED=0 $(GO) -C tools/node build -trimpath -ldflags '-s -w' -o $(BIN)/cni/host-local github.com/containernetworking/plugins/plugins/ipam/host-local

## grpcurl: the tool that looks into the services, for the tests and for the curious
grpcurl:
	CGO_ENABLED=0 $(GO) -C tools build -trimpath -ldflags '-s -w' -o $(BIN)/tools/grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl

## clients: programs that others wrote for Kubernetes, and client-go in two versions, for the tests
clients:
	CGO_ENABLED=0 $(GO) -C tools/clients build -trimpath -ldflags '-s -w' -o $(BIN)/clients/ helm.sh/helm/v4/cmd/helm github.com/stern/stern github.com/derailed/k9s
	$(GO_BUILD) -ldflags '-s -w' -o $(BIN)/clients/ ./test/clients/clientcheck
	$(GO_BUILD) -modfile=tools/older/go.mod -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=v1.35.10' -o $(BIN)/clients/v0.35/ ./cmd/kubectl ./test/clients/clientcheck

## packages: what the build and the tests need of Debian
packages:
	@./tools/packages.sh

## demo: a cluster of three nodes that runs the guestbook; goes on until `make down`
demo: build
	./examples/guestbook/demo.sh $(DEMO_DIR)

## up: a cluster of one node in the background
up: build
	$(BIN)/navarch up --detach --data-dir $(DEMO_DIR)

## down: stop what demo or up started and remove every trace of it
down:
	./examples/guestbook/stop.sh $(DEMO_DIR)

## images: the images of docker-compose.yml
images: image-programs
	$(COMPOSE) build

image-programs: navarch node-tools
	$(GO_BUILD) -ldflags '-s -w' -o $(BIN)/etcd go.etcd.io/etcd/server/v3
	$(foreach p,web store images,$(GO_BUILD) -ldflags '-s -w' -o $(BIN)/guestbook/$(p) ./examples/guestbook/$(p);)

## compose-up: a cluster of containers, one for each service
compose-up: images kubectl
	$(COMPOSE) up -d
	./packaging/wait-ready.sh .compose/kubeconfig 2

## compose-down: remove what compose-up started
compose-down:
	$(COMPOSE) --profile tracing down --volumes --remove-orphans
	rm -rf .compose

## compose-test: the guestbook on docker-compose.yml, under a dockerd of its own
compose-test: image-programs kubectl
	./packaging/compose-test.sh

## test: every test
test: build unit integration

unit: build
	NAVARCH_BIN_DIR=$(BIN) $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v '/navarch/test')

integration: build grpcurl clients
	# One package at a time: each runs whole clusters, and one checks what they leave on the host.
	NAVARCH_BIN_DIR=$(BIN) $(GO) test -p 1 -timeout 40m -count=1 ./test/...

## test-cgroup2: the tests of real containers in a virtual machine with Debian's kernel, of cgroups of version 2 and AppArmor
test-cgroup2: build
	mkdir -p $(BIN)/vm
	CGO_ENABLED=0 $(GO) test -trimpath -c -o $(BIN)/vm/ ./agent/apparmor ./agent/runtime
	NAVARCH_BIN_DIR=$(BIN) NAVARCH_TEST_SHIM=$(BIN)/navarch-shim ./test/vm/run sh -c \
		'cd agent/apparmor && $(BIN)/vm/apparmor.test -test.v && cd ../runtime && $(BIN)/vm/runtime.test -test.v -test.timeout 30m'

## model: the random checks of the Store, the controllers and the agents with a new seed, MODEL_EFFORT times as long as in `make unit`
model:
	NAVARCH_TEST_SEED=random NAVARCH_TEST_EFFORT=$(MODEL_EFFORT) $(GO) test -count=1 -timeout 60m ./services/store/model ./services/store/codec ./gateway/rest ./services/controller/simulation
	NAVARCH_TEST_SEED=random NAVARCH_TEST_EFFORT=$(MODEL_EFFORT) $(GO) test -count=1 -timeout 60m -run TestNoPodRunsTwice ./agent/podworker

## bench: the speed figures, each beside a reference measured in the same run
bench: build
	NAVARCH_BIN_DIR=$(BIN) $(GO) run ./bench

## bench-peers: speed and memory beside the real Kubernetes programs, which it builds; PEERS_FLAGS chooses rows
bench-peers: navarch peers
	$(GO) -C bench/peers run . -bin $(BIN) $(PEERS_FLAGS)

## peers: etcd and the Kubernetes programs that bench-peers measures against
peers:
	$(GO_BUILD) -ldflags '-s -w' -o $(BIN)/etcd go.etcd.io/etcd/server/v3
	$(GO_BUILD) -ldflags '-s -w' -o $(BIN)/peers/cycle ./bench/cycle
	CGO_ENABLED=0 $(GO) -C bench/peers build -trimpath -ldflags '-s -w' -o $(BIN)/peers/kubecycle ./kubecycle
	$(foreach p,kube-apiserver kube-scheduler kube-controller-manager,CGO_ENABLED=0 $(GO) -C bench/peers build -trimpath -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBECTL_VERSION)' -o $(BIN)/peers/$(p) k8s.io/kubernetes/cmd/$(p);)

## lint: golangci-lint, buf lint, generated code up to date
lint: check-generated
	$(LINT) run ./...
	$(TOOL) buf lint
	@if git rev-parse -q --verify origin/main >/dev/null; then $(TOOL) buf breaking --against '.git#branch=origin/main'; fi

## generate: code made from proto/
generate:
	mkdir -p $(BIN)/tools
	$(GO) build -modfile=tools/go.mod -o $(BIN)/tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH=$(BIN)/tools:$$PATH $(TOOL) buf generate
	$(GO) generate ./...

check-generated: generate
	@git diff --exit-code --stat -- '*.pb.go' internal/apidescriptors || { echo 'generated files are out of date: run make generate and commit' >&2; exit 1; }

fmt:
	$(LINT) fmt

clean:
	rm -rf $(BIN)
