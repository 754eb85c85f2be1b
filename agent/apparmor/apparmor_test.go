package apparmor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestEnabled(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := filepath.Join(dir, "none")
	yes, no, empty := write("yes", "Y\n"), write("no", "N\n"), write("empty", "")
	for _, tt := range []struct {
		name, parameter, folder string
		enabled                 bool
	}{
		{"enabled", yes, dir, true},
		{"switched off", no, dir, false},
		{"not in the kernel", none, none, false},
		{"unreadable", empty, dir, false},
		{"securityfs is not mounted", yes, none, false},
	} {
		if err := enabled(tt.parameter, tt.folder); (err == nil) != tt.enabled || (err != nil && !errors.Is(err, errNotEnabled)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestDefault(t *testing.T) {
	problem := errors.New("no")
	for want, supports := range map[string][]Support{
		DefaultProfile: {{}},
		"":             {{Problem: problem}, {DefaultProblem: problem}},
	} {
		for _, s := range supports {
			if got := s.Default(); got != want {
				t.Errorf("%+v: %q, want %q", s, got, want)
			}
		}
	}
}

// TestOfMachine: on a machine with AppArmor the default profile is loaded.
func TestOfMachine(t *testing.T) {
	support := OfMachine()
	if support.Problem != nil {
		t.Skip(support.Problem)
	}
	if support.DefaultProblem != nil {
		t.Skip(support.DefaultProblem)
	}
	if err := Loaded(DefaultProfile); err != nil {
		t.Error(err)
	}
	if err := Loaded("no-such-profile"); err == nil {
		t.Error("a profile that nobody made is loaded")
	}
}
