package kubeconfig

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"navarch.dev/navarch/internal/certs"
)

// The file is for clients of all kinds, so client-go's own reader must
// understand it.
func TestClientGoReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	want := Config{Server: "[::1]:6443", Authority: []byte("authority"), User: certs.Pair{Cert: []byte("cert"), Key: []byte("key")}}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v (%v), want one for the owner alone", info.Mode(), err)
	}
	raw, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.Validate(*raw); err != nil {
		t.Error(err)
	}
	got, err := clientcmd.NewDefaultClientConfig(*raw, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://[::1]:6443" || string(got.CAData) != "authority" || string(got.CertData) != "cert" || string(got.KeyData) != "key" {
		t.Errorf("client-go reads %v", got)
	}
}
