package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"

	"navarch.dev/navarch/internal/certs"
)

// Endpoints are where the services of a running cluster are reached.
type Endpoints struct{ Store, Scheduler string }

// Access returns how the local user reaches the cluster of a data folder.
func Access(dataDir string) (Endpoints, *certs.Bundle, error) {
	l, endpoints, err := locate(dataDir)
	if err != nil {
		return Endpoints{}, nil, err
	}
	bundle, err := certs.LoadBundleDir(l.PKI(), adminCert)
	return endpoints, bundle, err
}

// Authority returns the authority of the cluster of a data folder, for whoever
// acts as many nodes.
func Authority(dataDir string) (Endpoints, *certs.Authority, error) {
	l, endpoints, err := locate(dataDir)
	if err != nil {
		return Endpoints{}, nil, err
	}
	authority, err := certs.Load(l.PKI())
	return endpoints, authority, err
}

// locate finds the cluster of a data folder.
func locate(dataDir string) (Layout, Endpoints, error) {
	l, err := NewLayout(dataDir)
	if err != nil {
		return l, Endpoints{}, err
	}
	state, err := l.readState()
	if errors.Is(err, fs.ErrNotExist) {
		return l, Endpoints{}, fmt.Errorf("there is no cluster in the data folder %s: name another with --data-dir, or start one with 'navarch up'", l.Dir)
	}
	if err != nil {
		return l, Endpoints{}, err
	}
	loopback := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	return l, Endpoints{Store: loopback(state.StorePort), Scheduler: loopback(state.schedulerPort())}, nil
}
