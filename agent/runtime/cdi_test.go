package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCDIDevices(t *testing.T) {
	dir, later := t.TempDir(), t.TempDir()
	write := func(dir, file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(dir, "a.json", `{"cdiVersion": "0.6.0", "kind": "d.com/x", "devices": [{"name": "a", "containerEdits": {"env": ["A=1"]}}, {"name": "b", "containerEdits": {"env": ["B=old"]}}]}`)
	write(later, "b.yaml", `{cdiVersion: 0.6.0, kind: d.com/x, devices: [{name: b, containerEdits: {env: [B=new], mounts: [{hostPath: /h, containerPath: /c}]}}]}`)
	for _, c := range []struct {
		name    string
		devices []string
		env     []string
		err     string
	}{
		{"none", nil, nil, ""},
		{"one", []string{"d.com/x=a"}, []string{"A=1"}, ""},
		{"of the later folder", []string{"d.com/x=a", "d.com/x=b"}, []string{"A=1", "B=new"}, ""},
		{"not there", []string{"d.com/x=a", "d.com/x=c"}, nil, "CDI devices d.com/x=c are not specified below " + dir + " or " + later},
		{"no name", []string{"what is this"}, nil, "CDI devices what is this are not specified below"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &specBuilder{spec: ContainerSpec{CDIDevices: c.devices}, cdiDirs: []string{dir, later}}
			spec := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
			err := b.addCDI(spec)
			if c.err != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err)) || c.err == "" && err != nil {
				t.Fatalf("got %v, want %q", err, c.err)
			}
			if err == nil && !slices.Equal(spec.Process.Env, c.env) {
				t.Errorf("the environment is %v, want %v", spec.Process.Env, c.env)
			}
		})
	}
}
