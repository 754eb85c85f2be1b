package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"navarch.dev/navarch/agent/userns"
)

func TestConfigOfUsers(t *testing.T) {
	for name, tt := range map[string]struct {
		share  string
		perPod uint32
		want   string
	}{
		"as it is":          {"0/1", userns.Unit, ""},
		"the last of three": {"2/3", 2 * userns.Unit, ""},
		"beyond the last":   {"3/3", userns.Unit, `user-namespace-share "3/3" is not INDEX/COUNT`},
		"before the first":  {"-1/3", userns.Unit, "is not INDEX/COUNT"},
		"of none":           {"0/0", userns.Unit, "is not INDEX/COUNT"},
		"of too many":       {"0/65536", userns.Unit, "is not INDEX/COUNT"},
		"no numbers":        {"a/b", userns.Unit, "is not INDEX/COUNT"},
		"no count":          {"0", userns.Unit, "is not INDEX/COUNT"},
		"half a unit":       {"0/1", userns.Unit / 2, "user-namespace-ids-per-pod 32768 is not a multiple of 65536"},
		"nothing":           {"0/1", 0, "user-namespace-ids-per-pod 0 is not a multiple of 65536"},
	} {
		c := DefaultConfig()
		c.NodeName, c.UsersShare, c.UsersPerPod = "n1", tt.share, tt.perPod
		err := c.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestCloseFolders: a folder that an earlier version left open is closed.
func TestCloseFolders(t *testing.T) {
	dir := t.TempDir()
	open, absent := filepath.Join(dir, "open"), filepath.Join(dir, "absent")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := closeFolders(open, absent); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{open, absent} {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", folder, info.Mode(), err)
		}
	}
}
