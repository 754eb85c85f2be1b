// Package localcluster runs a whole cluster on one machine: `navarch up` and
// `navarch down`.
//
// `up` is a supervisor. It makes the certificates, prepares the nodes'
// networks, and keeps one control-plane process and, per node, one agent and
// one proxy process running. With one node the node is the host itself; with
// several, each node is a network namespace on a private bridge. Pods belong
// to their shims, so stopping or killing any of this leaves them running.
//
// On disk, below the data folder:
//
//	version         the layout's version
//	cluster.json    what the cluster is: identity, nodes, address ranges, ports
//	kubeconfig      the local user's way in
//	pki/            the authority and every certificate
//	etcd/           the Store's data
//	nodes/NODE/     the state of one node
//	logs/           a log file per process
//	run/            the supervisor's lock, the processes' pids (NAME.pid) and the
//	                addresses of their metrics and profiles (NAME.debug)
//
// What must not outlive a reboot is in /run/navarch: the claim of an address
// slot, and the nodes' network namespaces.
package localcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"navarch.dev/navarch/internal/atomicfile"
)

// layoutVersion is the version of the data folder that this program reads.
const layoutVersion = "1"

// DefaultDataDir is where a cluster lives unless told otherwise.
const DefaultDataDir = "/var/lib/navarch"

// runtimeDir holds what belongs to this boot of the machine.
const runtimeDir = "/run/navarch"

// Layout is the data folder of one cluster.
type Layout struct{ Dir string }

// NewLayout returns the layout of a data folder, its path made absolute.
func NewLayout(dir string) (Layout, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("data folder %q: %w", dir, err)
	}
	return Layout{Dir: abs}, nil
}

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

// PKI is the folder of the certificates.
func (l Layout) PKI() string { return l.path("pki") }

// Etcd is the folder of the Store's data.
func (l Layout) Etcd() string { return l.path("etcd") }

// Node is the folder of one node.
func (l Layout) Node(name string) string { return l.path("nodes", name) }

// Log is the log file of one process.
func (l Layout) Log(process string) string { return l.path("logs", process+".log") }

// PidFile holds the pid of one process.
func (l Layout) PidFile(process string) string { return l.path("run", process+".pid") }

// DebugFile holds the address of one process's metrics and profiles.
func (l Layout) DebugFile(process string) string { return l.path("run", process+".debug") }

// Lock is held by the supervisor while it runs.
func (l Layout) Lock() string { return l.path("run", "lock") }

// Kubeconfig is where the local user's kubeconfig goes by default.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// ID identifies the cluster on this machine: names of links, tables and
// control groups are derived from it.
func (l Layout) ID() string {
	sum := sha256.Sum256([]byte(l.Dir))
	return hex.EncodeToString(sum[:3])
}

// prepare makes the folders and checks or writes the version. Through some pass the
// users of pods that have their own, on the way to their root filesystems.
func (l Layout) prepare() error {
	for _, dir := range []string{l.Dir, l.PKI(), l.path("logs"), l.path("run"), l.path("nodes")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create the data folder: %w", err)
		}
	}
	for _, dir := range []string{l.Dir, l.path("nodes")} {
		info, err := os.Stat(dir)
		if err == nil {
			err = os.Chmod(dir, info.Mode().Perm()|0o011)
		}
		if err != nil {
			return fmt.Errorf("open the data folder to the users of pods: %w", err)
		}
	}
	return l.checkVersion()
}

func (l Layout) checkVersion() error {
	data, err := os.ReadFile(l.path("version"))
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Write(l.path("version"), []byte(layoutVersion+"\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("read the data folder's version: %w", err)
	}
	if have := strings.TrimSpace(string(data)); have != layoutVersion {
		return fmt.Errorf("data folder %s has version %q, this navarch reads version %q: use the navarch that wrote it, or another --data-dir", l.Dir, have, layoutVersion)
	}
	return nil
}

// State is what a cluster is, kept in cluster.json.
type State struct {
	ID    string `json:"id"`
	Nodes int    `json:"nodes"`
	// Slot is the address slot: clusters on one machine have different ones.
	Slot int `json:"slot"`
	// GatewayHost is the address the gateway is served on.
	GatewayHost string `json:"gatewayHost"`
	// StorePort and GatewayPort are served on the host.
	StorePort   int `json:"storePort"`
	GatewayPort int `json:"gatewayPort"`
	// SchedulerPort and ControllerPort are served on loopback where the
	// services run apart; 0 where they share the Store's address.
	SchedulerPort  int `json:"schedulerPort,omitempty"`
	ControllerPort int `json:"controllerPort,omitempty"`
	// AgentPort and ProxyPort are served on every node's address.
	AgentPort int `json:"agentPort"`
	ProxyPort int `json:"proxyPort"`
	// Host is the name of the single node that is the host itself.
	Host       string `json:"host,omitempty"`
	Kubeconfig string `json:"kubeconfig"`
}

func (l Layout) readState() (*State, error) {
	data, err := os.ReadFile(l.path("cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's description: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read the cluster's description %s: %w", l.path("cluster.json"), err)
	}
	return &s, nil
}

func (l Layout) writeState(s *State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("describe the cluster: %w", err)
	}
	return atomicfile.Write(l.path("cluster.json"), append(data, '\n'), 0o644)
}

// BinDir is where the programs that nodes need are by default: beside this
// program.
func BinDir() string {
	executable, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(executable)
}
