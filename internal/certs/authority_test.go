package certs

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/internal/identity"
)

func TestIssuedCertificateStatesTheIdentity(t *testing.T) {
	authority, err := LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(Request{
		Identity: identity.Node("n1"), DNSNames: []string{NodeServerName("n1")}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: authority.Pool(), DNSName: NodeServerName("n1"), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Errorf("the certificate does not verify: %v", err)
	}
	if diff := cmp.Diff(identity.Node("n1"), identity.FromCertificate(cert)); diff != "" {
		t.Errorf("identity (-issued +read):\n%s", diff)
	}
}

func TestEnsureKeepsWhatStillServes(t *testing.T) {
	dir := t.TempDir()
	authority, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Identity: identity.Service(identity.Proxy), DNSNames: []string{"a.test"}}
	first, err := authority.Ensure(dir, "proxy", request)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*Request)
		kept   bool
	}{
		{"unchanged", func(*Request) {}, true},
		{"another name to serve as", func(r *Request) { r.DNSNames = []string{"b.test"} }, false},
		{"another address to serve on", func(r *Request) { r.IPs = []net.IP{net.IPv4(10, 0, 0, 9)} }, false},
		{"another identity", func(r *Request) { r.Identity.Name = "other" }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := first.Write(dir, "proxy"); err != nil {
				t.Fatal(err)
			}
			r := request
			tc.change(&r)
			again, err := authority.Ensure(dir, "proxy", r)
			if err != nil {
				t.Fatal(err)
			}
			if kept := string(again.Cert) == string(first.Cert); kept != tc.kept {
				t.Errorf("kept = %v, want %v", kept, tc.kept)
			}
		})
	}
}

// A pair of which one half was lost, or was still being replaced, is made anew.
func TestEnsureReplacesDamagedPairs(t *testing.T) {
	dir := t.TempDir()
	authority, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Identity: identity.Service(identity.Proxy)}
	other, err := authority.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]map[string][]byte{
		"no certificate":     {"proxy.crt": nil},
		"no key":             {"proxy.key": nil},
		"half a key":         {"proxy.key": other.Key[:len(other.Key)/2]},
		"the next one's key": {"proxy.key": other.Key},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := authority.Ensure(dir, "proxy", request); err != nil {
				t.Fatal(err)
			}
			for file, content := range damage {
				if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := authority.Ensure(dir, "proxy", request); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadBundleDir(dir, "proxy"); err != nil {
				t.Errorf("the pair was left damaged: %v", err)
			}
		})
	}
}

func TestEnsureReplacesAnotherAuthoritysCertificate(t *testing.T) {
	dir := t.TempDir()
	other, err := LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Identity: identity.Service(identity.Proxy)}
	stale, err := other.Ensure(dir, "proxy", request)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := LoadOrCreate(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := authority.Ensure(dir, "proxy", request)
	if err != nil {
		t.Fatal(err)
	}
	if string(fresh.Cert) == string(stale.Cert) {
		t.Error("a certificate of another authority was kept")
	}
}

func TestKeysAreTheOwnersOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrCreate(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("ca.key has mode %o, want 600", mode)
	}
}
