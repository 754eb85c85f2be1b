// Package devices gives pods the devices that were allocated to their
// ResourceClaims: it has the devices' drivers prepare them before the pod's
// containers are created, and unprepare them once these have ended.
//
// A driver is a program of the node, usually a pod, that serves a gRPC API on
// sockets, as it does for a kubelet. It is found by the socket that it makes in the
// folder plugins_registry (Plugins), and prepares claims when it is asked to
// (Manager). It answers with names of devices of the Container Device Interface,
// which the runtime then puts into the containers.
//
//	plugins.go    the drivers that are there
//	manager.go    which claims are prepared for which pods
//	prepare.go    calls of drivers
//	state.go      what is kept on disk, a file per claim
package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registrationv1 "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"navarch.dev/navarch/internal/client"
)

const (
	// registerTimeout bounds how long a new driver has to answer.
	registerTimeout = 10 * time.Second
	// wipeAfter is how long a driver may be away before what it published is
	// removed: one that is updated comes back.
	wipeAfter = 30 * time.Second
)

// Plugins are the drivers that have registered on the node.
type Plugins struct {
	dir     string
	node    string
	client  *client.Client
	changed func()
	log     *slog.Logger

	mu sync.Mutex // guards all below
	// sockets are those that were seen in the folder, by path.
	sockets map[string]*socket
	drivers map[string]*driver
}

// socket is a driver's socket for registration.
type socket struct {
	made   os.FileInfo
	driver string // once it has registered
}

// driver is a driver that can be called.
type driver struct {
	name, endpoint string
	conn           *grpc.ClientConn
	service        drav1.DRAPluginClient
}

// NewPlugins returns the drivers that register in a folder. changed is called when
// one has come.
func NewPlugins(dir, node string, c *client.Client, changed func(), log *slog.Logger) *Plugins {
	return &Plugins{dir: dir, node: node, client: c, changed: changed, log: log, sockets: map[string]*socket{}, drivers: map[string]*driver{}}
}

// Run follows the folder until ctx ends.
func (p *Plugins) Run(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o750); err != nil {
		return fmt.Errorf("make the folder in which drivers register: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", p.dir, err)
	}
	defer func() { _ = watcher.Close() }() // nothing is written
	if err := watcher.Add(p.dir); err != nil {
		return fmt.Errorf("watch %s: %w", p.dir, err)
	}
	var registering sync.WaitGroup
	defer p.closeAll()
	defer registering.Wait()
	strangers := time.NewTimer(wipeAfter)
	defer strangers.Stop()
	p.scan(ctx, &registering)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			p.scan(ctx, &registering)
		case err := <-watcher.Errors: // events were lost, perhaps
			p.log.WarnContext(ctx, "drivers may be noticed late", "error", err)
			p.scan(ctx, &registering)
		case <-strangers.C:
			registering.Go(func() { p.wipeStrangers(ctx) })
		}
	}
}

// scan compares the folder with what is known of it.
func (p *Plugins) scan(ctx context.Context, registering *sync.WaitGroup) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		p.log.WarnContext(ctx, "the folder in which drivers register cannot be read", "error", err)
		return
	}
	found := map[string]os.FileInfo{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode()&os.ModeSocket != 0 {
			found[filepath.Join(p.dir, e.Name())] = info
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, s := range p.sockets {
		if info, ok := found[path]; !ok || !same(info, s.made) {
			delete(p.sockets, path)
			p.left(ctx, s.driver, registering)
		}
	}
	for path, info := range found {
		if p.sockets[path] == nil {
			s := &socket{made: info}
			p.sockets[path] = s
			registering.Go(func() { p.register(ctx, path, s) })
		}
	}
}

// same says whether a socket is one that was seen before. A new one can have the
// number of an old one.
func same(a, b os.FileInfo) bool { return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) }

// left notes that a driver has gone. If it stays away, what it published goes.
func (p *Plugins) left(ctx context.Context, name string, wiping *sync.WaitGroup) {
	d, ok := p.drivers[name]
	if !ok {
		return
	}
	p.log.InfoContext(ctx, "a driver of devices has gone", "driver", name)
	delete(p.drivers, name)
	_ = d.conn.Close() // it is not used any longer
	wiping.Go(func() {
		select {
		case <-time.After(wipeAfter):
			p.wipe(ctx, name)
		case <-ctx.Done():
		}
	})
}

// register asks who is behind a socket, and tells it what became of that.
func (p *Plugins) register(ctx context.Context, path string, s *socket) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	name, err := p.welcome(ctx, path, s)
	if err != nil {
		p.log.WarnContext(ctx, "a driver was not registered", "socket", path, "error", err)
		return
	}
	p.log.InfoContext(ctx, "a driver of devices has registered", "driver", name)
	p.changed()
}

func (p *Plugins) welcome(ctx context.Context, path string, s *socket) (string, error) {
	conn, err := dial(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // one call was made
	registration := registrationv1.NewRegistrationClient(conn)
	info, err := registration.GetInfo(ctx, &registrationv1.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return "", fmt.Errorf("ask for its name: %w", err)
	}
	status := &registrationv1.RegistrationStatus{PluginRegistered: true}
	refused := p.add(info, path, s)
	if refused != nil {
		status = &registrationv1.RegistrationStatus{Error: refused.Error()}
	}
	if _, err := registration.NotifyRegistrationStatus(ctx, status); err != nil {
		return info.GetName(), errors.Join(refused, fmt.Errorf("tell it the result: %w", err))
	}
	return info.GetName(), refused
}

// add takes a driver up, in place of an older one of its name.
func (p *Plugins) add(info *registrationv1.PluginInfo, path string, s *socket) error {
	switch {
	case info.GetType() != registrationv1.DRAPlugin:
		return fmt.Errorf("plugins of type %q are not served by this node, only %s", info.GetType(), registrationv1.DRAPlugin)
	case !slices.Contains(info.GetSupportedVersions(), drav1.DRAPluginService):
		return fmt.Errorf("none of the services %q is known here, only %s", info.GetSupportedVersions(), drav1.DRAPluginService)
	case info.GetName() == "":
		return errors.New("the driver has no name")
	}
	endpoint := info.GetEndpoint()
	if endpoint == "" {
		endpoint = path
	}
	conn, err := dial(endpoint)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sockets[path] != s {
		return errors.Join(errors.New("its socket has gone meanwhile"), conn.Close())
	}
	if before := p.drivers[info.GetName()]; before != nil {
		_ = before.conn.Close() // the newer one stands for it
	}
	for _, other := range p.sockets {
		if other.driver == info.GetName() {
			other.driver = "" // its end is not the driver's
		}
	}
	s.driver = info.GetName()
	p.drivers[info.GetName()] = &driver{name: info.GetName(), endpoint: endpoint, conn: conn, service: drav1.NewDRAPluginClient(conn)}
	return nil
}

// dial connects to a socket. File permissions keep others from it.
func dial(path string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}

// get returns a driver, or an error that says that it is not there.
func (p *Plugins) get(name string) (drav1.DRAPluginClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.drivers[name]
	if !ok {
		return nil, fmt.Errorf("DRA driver %s is not registered", name)
	}
	return d.service, nil
}

func (p *Plugins) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, d := range p.drivers {
		_ = d.conn.Close() // it is not used any longer
		delete(p.drivers, name)
	}
}

// wipeStrangers removes what drivers published that have not come back since the
// agent's start.
func (p *Plugins) wipeStrangers(ctx context.Context) {
	var slices resourcev1.ResourceSliceList
	err := p.client.List(ctx, &slices, client.ListOptions{Fields: fields.OneTermEqualSelector(resourcev1.ResourceSliceSelectorNodeName, p.node)})
	if err != nil {
		p.log.WarnContext(ctx, "what drivers published was not read", "error", err)
		return
	}
	for i := range slices.Items {
		p.wipe(ctx, slices.Items[i].Spec.Driver)
	}
}

// wipe removes what a driver published for the node, unless the driver is there.
func (p *Plugins) wipe(ctx context.Context, name string) {
	if _, err := p.get(name); err == nil {
		return
	}
	var slices resourcev1.ResourceSliceList
	err := p.client.List(ctx, &slices, client.ListOptions{Fields: fields.OneTermEqualSelector(resourcev1.ResourceSliceSelectorNodeName, p.node)})
	for i := range slices.Items {
		if slices.Items[i].Spec.Driver == name {
			err = errors.Join(err, p.client.Delete(ctx, &slices.Items[i], client.DeleteOptions{UID: slices.Items[i].UID}))
		}
	}
	if err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "what a driver published was not removed", "driver", name, "error", err)
	}
}
