package fence

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fence")
	if _, err := Open(path, false); err == nil {
		t.Error("a fence that is not there was opened")
	}
	agent, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	shim, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want time.Duration, bounded bool) {
		t.Helper()
		if left, ok := shim.Left(10*time.Second, 5*time.Second); ok != bounded || ok && left != want {
			t.Errorf("%s: left %v, bounded %v; want %v, %v", what, left, ok, want, bounded)
		}
	}
	expect("never renewed", -1, true)
	agent.Renew(8 * time.Second)
	expect("renewed", 3*time.Second, true)
	agent.Renew(7 * time.Second)
	expect("an earlier renewal came later", 3*time.Second, true)
	agent.Lift()
	expect("lifted", 0, false)
	if agent.Begun() {
		t.Error("a lifted fence counts as begun")
	}
	agent.Renew(2 * time.Second)
	expect("renewed after that", -3*time.Second, true)
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	if agent, err = Open(path, true); err != nil {
		t.Fatal(err)
	}
	if left, _ := agent.Left(0, 0); left != 2*time.Second || !agent.Begun() {
		t.Errorf("the next agent finds %v", left)
	}
	if a, b := Now(), Now(); b < a || a == 0 {
		t.Errorf("the clock says %v, then %v", a, b)
	}
}

func TestBrokenFence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fence")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, false); err == nil {
		t.Error("a file that is too short was taken for a fence")
	}
}
