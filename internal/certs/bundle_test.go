package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"navarch.dev/navarch/internal/identity"
)

// A certificate is renewed at four fifths of its life, and whoever uses it
// takes up the new one when its files change.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		authority, err := LoadOrCreate(dir)
		if err != nil {
			t.Fatal(err)
		}
		request := Request{Identity: identity.Service(identity.Proxy), DNSNames: []string{"a.test"}}
		first, err := authority.Ensure(dir, "proxy", request)
		if err != nil {
			t.Fatal(err)
		}
		at, err := first.RenewAt()
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := LoadBundleDir(dir, "proxy")
		if err != nil {
			t.Fatal(err)
		}
		var ends []time.Time
		bundle.OnReload(func(end time.Time, err error) {
			if err != nil {
				t.Errorf("reload: %v", err)
			}
			ends = append(ends, end)
		})
		for _, c := range []struct {
			sleep   time.Duration
			renewed bool
		}{{time.Until(at) - time.Second, false}, {2 * time.Second, true}, {300 * 24 * time.Hour, true}} {
			time.Sleep(c.sleep)
			before := bundle.Own().Leaf
			if _, err := authority.Ensure(dir, "proxy", request); err != nil {
				t.Fatal(err)
			}
			touch(t, dir, "proxy")
			time.Sleep(2 * lookAgain)
			after := bundle.Own().Leaf
			if renewed := !after.Equal(before); renewed != c.renewed {
				t.Errorf("at %s renewed is %v, want %v", time.Now(), renewed, c.renewed)
			}
			if !time.Now().Before(after.NotAfter) {
				t.Errorf("at %s the certificate in use has ended", time.Now())
			}
		}
		if len(ends) < 2 {
			t.Errorf("told of %d reloads", len(ends))
		}
	})
}

// touch gives files the time of the test's clock, which the file system does
// not have.
func touch(t *testing.T, dir, name string) {
	t.Helper()
	for _, end := range []string{".crt", ".key"} {
		if err := os.Chtimes(filepath.Join(dir, name+end), time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// Half of a pair is not taken up, the whole is.
func TestHalfWrittenPairIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		authority, err := LoadOrCreate(dir)
		if err != nil {
			t.Fatal(err)
		}
		request := Request{Identity: identity.Service(identity.Proxy)}
		if _, err := authority.Ensure(dir, "proxy", request); err != nil {
			t.Fatal(err)
		}
		bundle, err := LoadBundleDir(dir, "proxy")
		if err != nil {
			t.Fatal(err)
		}
		var failed, reloaded int
		bundle.OnReload(func(_ time.Time, err error) {
			if err != nil {
				failed++
			} else {
				reloaded++
			}
		})
		old := bundle.Own().Leaf
		fresh, err := authority.Issue(request)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			file             string
			content          []byte
			failed, reloaded int
		}{{"proxy.key", fresh.Key, 1, 0}, {"proxy.crt", fresh.Cert, 1, 1}} {
			time.Sleep(time.Minute)
			if err := os.WriteFile(filepath.Join(dir, step.file), step.content, 0o600); err != nil {
				t.Fatal(err)
			}
			touch(t, dir, "proxy")
			now := bundle.Own().Leaf
			_ = bundle.Own() // what was looked at is not looked at again
			if failed != step.failed || reloaded != step.reloaded || now.Equal(old) != (step.reloaded == 0) {
				t.Errorf("after %s: %d failed, %d reloaded, the old one is used: %v", step.file, failed, reloaded, now.Equal(old))
			}
		}
	})
}

// A server and a client that were configured before a renewal use the new
// certificates with each other.
func TestConnectionsUseRenewedCertificates(t *testing.T) {
	dir := t.TempDir()
	authority, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Identity: identity.Service(identity.Proxy), DNSNames: []string{"a.test"}}
	if _, err := authority.Ensure(dir, "proxy", request); err != nil {
		t.Fatal(err)
	}
	bundle, err := LoadBundleDir(dir, "proxy")
	if err != nil {
		t.Fatal(err)
	}
	server, client := bundle.Server(), bundle.Client("a.test")
	serials := func() [2]string {
		t.Helper()
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		s, c := tls.Server(far, server), tls.Client(near, client)
		done := make(chan error, 1)
		go func() { done <- s.HandshakeContext(context.Background()) }()
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		text := func(cert *x509.Certificate) string { return cert.SerialNumber.String() }
		return [2]string{text(c.ConnectionState().PeerCertificates[0]), text(s.ConnectionState().PeerCertificates[0])}
	}
	before := serials()
	fresh, err := authority.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Write(dir, "proxy"); err != nil {
		t.Fatal(err)
	}
	bundle.forget()
	cert, err := parseCertificate(fresh.Cert)
	if err != nil {
		t.Fatal(err)
	}
	want := cert.SerialNumber.String()
	if after := serials(); before[0] == want || after != [2]string{want, want} {
		t.Errorf("certificates were %v, are %v, want %s", before, after, want)
	}
}

// forget has the files looked at again at once, whatever their times say.
func (b *Bundle) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looked, b.seen = time.Time{}, [3]stamp{}
}
