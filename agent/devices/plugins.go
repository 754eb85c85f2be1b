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
//	health.go     what drivers say of their devices, for the status of pods
package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
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
	// reported is called when a driver has said something new of its devices.
	reported func(driver string)
	health   *health
	log      *slog.Logger

	mu sync.Mutex // guards all below
	// sockets are those that were seen in the folder, by path.
	sockets map[string]*socket
	// drivers are the instances of each driver, the one that registered last at the
	// end: that is called. While a driver is updated it may have two.
	drivers map[string][]*driver
	// absent are the drivers that have gone. Each func keeps what the driver
	// published from being removed.
	absent     map[string]context.CancelFunc
	registered int // counts instances
}

// socket is a driver's socket for registration.
type socket struct {
	made   os.FileInfo
	driver *driver // once it has registered
}

// driver is an instance of a driver that can be called.
type driver struct {
	name, endpoint string
	instance       string // no other has the same
	conn           *grpc.ClientConn
	service        drav1.DRAPluginClient
	// health is nil if the driver does not tell of that.
	health healthv1.DRAResourceHealthClient
	gone   chan struct{} // closed when it is called no longer
}

func newDriver(name, endpoint string, services []string, conn *grpc.ClientConn) *driver {
	d := &driver{name: name, endpoint: endpoint, conn: conn, health: healthClient(services, conn), gone: make(chan struct{})}
	if slices.Contains(services, drav1.DRAPluginService) {
		d.service = drav1.NewDRAPluginClient(conn)
	} else {
		d.service = drav1beta1.V1Beta1ClientWrapper{DRAPluginClient: drav1beta1.NewDRAPluginClient(conn)}
	}
	return d
}

func (d *driver) close() {
	close(d.gone)
	_ = d.conn.Close() // it is not used any longer
}

// services are the versions of a driver's service that are known here.
func services() []string { return []string{drav1.DRAPluginService, drav1beta1.DRAPluginService} }

// NewPlugins returns the drivers that register in a folder. changed is called when
// one has come, reported when one has said something new of its devices' health.
func NewPlugins(dir, node string, c *client.Client, changed func(), reported func(driver string), log *slog.Logger) *Plugins {
	return &Plugins{
		dir: dir, node: node, client: c, changed: changed, reported: reported, health: newHealth(), log: log,
		sockets: map[string]*socket{}, drivers: map[string][]*driver{}, absent: map[string]context.CancelFunc{},
	}
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
	var working sync.WaitGroup
	defer p.closeAll()
	defer working.Wait()
	strangers := time.NewTimer(wipeAfter)
	defer strangers.Stop()
	p.scan(ctx, &working)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			p.scan(ctx, &working)
		case err := <-watcher.Errors: // events were lost, perhaps
			p.log.WarnContext(ctx, "drivers may be noticed late", "error", err)
			p.scan(ctx, &working)
		case <-strangers.C:
			working.Go(func() { p.wipeStrangers(ctx) })
		}
	}
}

// scan compares the folder with what is known of it.
func (p *Plugins) scan(ctx context.Context, working *sync.WaitGroup) {
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
			p.left(ctx, s.driver, working)
		}
	}
	for path, info := range found {
		if p.sockets[path] == nil {
			s := &socket{made: info}
			p.sockets[path] = s
			working.Go(func() { p.register(ctx, path, s, working) })
		}
	}
}

// same says whether a socket is one that was seen before. A new one can have the
// number of an old one.
func same(a, b os.FileInfo) bool { return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) }

// left notes that an instance of a driver has gone. The one before it, if it is
// still there, is called again. If the driver stays away, what it published goes.
func (p *Plugins) left(ctx context.Context, d *driver, working *sync.WaitGroup) {
	if d == nil {
		return
	}
	d.close()
	rest := slices.DeleteFunc(p.drivers[d.name], func(other *driver) bool { return other == d })
	if len(rest) > 0 {
		p.drivers[d.name] = rest
		p.log.InfoContext(ctx, "an instance of a driver of devices has gone", "driver", d.name)
		working.Go(func() { p.reported(d.name) })
		return
	}
	p.log.InfoContext(ctx, "a driver of devices has gone", "driver", d.name)
	delete(p.drivers, d.name)
	away, back := context.WithCancel(ctx)
	p.absent[d.name] = back
	working.Go(func() {
		defer back()
		select {
		case <-time.After(wipeAfter):
			p.wipe(ctx, d.name)
		case <-away.Done():
		}
	})
}

// register asks who is behind a socket, tells it what became of that, and follows
// what it says of its devices.
func (p *Plugins) register(ctx context.Context, path string, s *socket, working *sync.WaitGroup) {
	d, err := p.welcome(ctx, path, s)
	if err != nil {
		p.log.WarnContext(ctx, "a driver was not registered", "socket", path, "error", err)
		return
	}
	p.log.InfoContext(ctx, "a driver of devices has registered", "driver", d.name)
	if d.health != nil {
		working.Go(func() { p.follow(ctx, d) })
	}
	if p.instances(d.name) > 1 {
		p.reported(d.name) // the older one's word counts no longer
	}
	p.changed()
}

func (p *Plugins) welcome(ctx context.Context, path string, s *socket) (*driver, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	conn, err := dial(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // one call was made
	registration := registrationv1.NewRegistrationClient(conn)
	info, err := registration.GetInfo(ctx, &registrationv1.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("ask for its name: %w", err)
	}
	status := &registrationv1.RegistrationStatus{PluginRegistered: true}
	d, refused := p.add(info, path, s)
	if refused != nil {
		status = &registrationv1.RegistrationStatus{Error: refused.Error()}
	}
	if _, err := registration.NotifyRegistrationStatus(ctx, status); err != nil {
		return d, errors.Join(refused, fmt.Errorf("tell it the result: %w", err))
	}
	return d, refused
}

// add takes a driver up, to be called in place of an older instance of it.
func (p *Plugins) add(info *registrationv1.PluginInfo, path string, s *socket) (*driver, error) {
	switch {
	case info.GetType() != registrationv1.DRAPlugin:
		return nil, fmt.Errorf("plugins of type %q are not served by this node, only %s", info.GetType(), registrationv1.DRAPlugin)
	case !slices.ContainsFunc(services(), func(s string) bool { return slices.Contains(info.GetSupportedVersions(), s) }):
		return nil, fmt.Errorf("none of the services %q is known here, only %s", info.GetSupportedVersions(), strings.Join(services(), ", "))
	case info.GetName() == "":
		return nil, errors.New("the driver has no name")
	}
	endpoint := info.GetEndpoint()
	if endpoint == "" {
		endpoint = path
	}
	conn, err := dial(endpoint)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sockets[path] != s {
		return nil, errors.Join(errors.New("its socket has gone meanwhile"), conn.Close())
	}
	d := newDriver(info.GetName(), endpoint, info.GetSupportedVersions(), conn)
	p.registered++
	d.instance = fmt.Sprintf("%s#%d", d.name, p.registered)
	s.driver = d
	p.drivers[d.name] = append(p.drivers[d.name], d)
	if back := p.absent[d.name]; back != nil {
		back()
		delete(p.absent, d.name)
	}
	return d, nil
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
	d := p.current(name)
	if d == nil {
		return nil, fmt.Errorf("DRA driver %s is not registered", name)
	}
	return d.service, nil
}

// current returns the instance of a driver that is called, nil if there is none.
func (p *Plugins) current(name string) *driver {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.drivers[name]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

func (p *Plugins) instances(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.drivers[name])
}

func (p *Plugins) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, all := range p.drivers {
		for _, d := range all {
			d.close()
		}
		delete(p.drivers, name)
	}
}

// wipeStrangers removes what drivers published that have not come back since the
// agent's start. One that was there meanwhile has its time of its own.
func (p *Plugins) wipeStrangers(ctx context.Context) {
	var slices resourcev1.ResourceSliceList
	err := p.client.List(ctx, &slices, client.ListOptions{Fields: fields.OneTermEqualSelector(resourcev1.ResourceSliceSelectorNodeName, p.node)})
	if err != nil {
		p.log.WarnContext(ctx, "what drivers published was not read", "error", err)
		return
	}
	for i := range slices.Items {
		if name := slices.Items[i].Spec.Driver; !p.seen(name) {
			p.wipe(ctx, name)
		}
	}
}

// seen says whether a driver has been there and gone.
func (p *Plugins) seen(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.absent[name] != nil
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
