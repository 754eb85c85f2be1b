package localcluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStateIsReadBack(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	if _, err := l.readState(); err == nil {
		t.Error("a cluster that is not there was described")
	}
	want := &State{ID: "a1b2c3", Nodes: 3, Slot: 2, GatewayHost: "127.0.0.1", GatewayPort: 6443, StorePort: 2, AgentPort: 3, ProxyPort: 4, Kubeconfig: "/k"}
	if err := l.writeState(want); err != nil {
		t.Fatal(err)
	}
	got, err := l.readState()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the description changed (-written +read):\n%s", diff)
	}
}

func TestFoldersOfOtherVersionsAreLeftAlone(t *testing.T) {
	l := Layout{Dir: filepath.Join(t.TempDir(), "data")}
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := l.prepare(); err != nil {
		t.Errorf("a second start: %v", err)
	}
	if err := os.WriteFile(filepath.Join(l.Dir, "version"), []byte("999\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.prepare(); err == nil || !strings.Contains(err.Error(), `"999"`) {
		t.Errorf("the error is %v, want one that names the version", err)
	}
}

func TestClustersHaveTheirOwnIDs(t *testing.T) {
	a, b := Layout{Dir: "/var/lib/a"}, Layout{Dir: "/var/lib/b"}
	if a.ID() == b.ID() || a.ID() != (Layout{Dir: "/var/lib/a"}).ID() || len(a.ID()) > 6 {
		t.Errorf("the IDs are %q and %q", a.ID(), b.ID())
	}
}

func FuzzReadState(f *testing.F) {
	for _, seed := range []string{`{"id":"a","nodes":1}`, `{}`, `[]`, `null`, `{"nodes":-1e9}`, "{"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := Layout{Dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(l.Dir, "cluster.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := l.readState()
		if (s == nil) == (err == nil) {
			t.Errorf("state %v, error %v", s, err)
		}
	})
}
