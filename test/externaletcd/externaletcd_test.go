package externaletcd_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/backendtest"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/storetest"
)

// member is an etcd that takes clients with certificates only.
type member struct {
	config *embed.Config
	files  etcd.Config
}

func newMember(t *testing.T) *member {
	t.Helper()
	dir := t.TempDir()
	authority, err := certs.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(certs.Request{Identity: identity.Service(identity.Store), IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Write(dir, "etcd"); err != nil {
		t.Fatal(err)
	}
	files := etcd.DefaultConfig()
	files.CAFile, files.CertFile, files.KeyFile = filepath.Join(dir, "trusted.crt"), filepath.Join(dir, "etcd.crt"), filepath.Join(dir, "etcd.key")
	if err := os.WriteFile(files.CAFile, authority.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	address := url.URL{Scheme: "https", Host: freeAddress(t)}
	files.Endpoints = []string{address.String()}

	config := embed.NewConfig()
	config.Dir = filepath.Join(dir, "data")
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	config.ListenPeerUrls, config.AdvertisePeerUrls = nil, []url.URL{nowhere}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{address}, []url.URL{address}
	config.InitialCluster = config.Name + "=" + nowhere.String()
	config.ClientTLSInfo = transport.TLSInfo{CertFile: files.CertFile, KeyFile: files.KeyFile, TrustedCAFile: files.CAFile, ClientCertAuth: true}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return &member{config: config, files: files}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (m *member) start(t *testing.T) *embed.Etcd {
	t.Helper()
	e, err := embed.StartEtcd(m.config)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		t.Fatal(err)
	}
	return e
}

func (m *member) backend(t *testing.T) *etcd.Backend {
	t.Helper()
	b, err := etcd.Open(t.Context(), m.files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func (m *member) store(t *testing.T) *client.Client {
	t.Helper()
	return storetest.New(t, storetest.WithBackend(m.backend(t))).Client(storetest.Admin())
}

// An external etcd keeps what every backend promises.
func TestBackend(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	e := m.start(t)
	t.Cleanup(e.Close)
	b := m.backend(t)
	backendtest.Run(t, func(*testing.T) backend.Backend { return b })
}

// A watch ends with an error, rather than fall silent, when its etcd goes.
func TestWatchOfAnEtcdThatGoes(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	e := m.start(t)
	b := m.backend(t)
	r, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	if errs := b.Probe(t.Context()); len(errs) != 1 || errs[0] != nil {
		t.Errorf("a server that serves: %v", errs)
	}
	var got error
	for batch := range b.Watch(t.Context(), "/a", r.Revision) {
		if len(batch.Events) == 1 {
			e.Close()
		}
		got = batch.Err
	}
	if !errors.Is(got, backend.ErrUnavailable) {
		t.Errorf("the watch ended with %v, want ErrUnavailable", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if errs := b.Probe(ctx); len(errs) != 1 || errs[0] == nil {
		t.Errorf("a server that is gone: %v", errs)
	}
}

// Two Stores on one etcd are one cluster, and an etcd that comes back has lost
// nothing.
func TestTwoStores(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	e := m.start(t)
	t.Cleanup(func() { e.Close() })
	one, two := m.store(t), m.store(t)
	write := func(c *client.Client, name string) {
		t.Helper()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		if err := c.Create(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
	}
	read := func(c *client.Client, names ...string) {
		t.Helper()
		for _, name := range names {
			if err := c.Get(t.Context(), "default", name, &corev1.ConfigMap{}); err != nil {
				t.Errorf("read %s: %v", name, err)
			}
		}
	}
	write(one, "a")
	read(two, "a")
	write(two, "b")
	read(one, "a", "b")
	e.Close()
	e = m.start(t)
	three := m.store(t)
	write(three, "c")
	read(three, "a", "b", "c")
	read(one, "a", "b", "c")
}
