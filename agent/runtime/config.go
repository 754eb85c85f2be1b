package runtime

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Config is what a Runtime needs to know.
type Config struct {
	// StateDir holds the runtime's state; see the package comment.
	StateDir string
	// FilesDir holds what containers may write, so it should be on a disk even if
	// StateDir is in memory; empty is a folder in StateDir.
	FilesDir string
	// CgroupParent is the cgroup of this node, from the root of the hierarchy:
	// "navarch/<cluster>/<node>".
	CgroupParent string
	// RuncPath and ShimPath are the programs runc and navarch-shim.
	RuncPath string
	ShimPath string
	// FencePath is the file of the node's fence (agent/fence). It must be there
	// before a sandbox is put under it.
	FencePath string
	// CDIDirs are where specifications of CDI devices are looked up; the later ones
	// win.
	CDIDirs []string
	// SeccompDir is where Localhost profiles are looked up.
	SeccompDir string
	// AppArmorDefault is the name of a loaded profile of AppArmor for containers that
	// choose none; empty is no profile.
	AppArmorDefault string
	// LogMaxBytes is the size at which a container's log is rotated, LogMaxFiles
	// how many files are kept, the one being written included.
	LogMaxBytes int64
	LogMaxFiles int
	// AnswerTime is how long a shim may take to answer what ends its containers;
	// then it is ended, and they are. For the events of one that a new agent finds
	// that agent waits a tenth of it.
	AnswerTime time.Duration
	// OnEvent is called each time a container or a sandbox has changed by itself.
	// It must not block: enqueue a key. It may be nil.
	OnEvent func(Event)
}

// DefaultConfig returns the defaults of what can have one.
func DefaultConfig() Config {
	return Config{LogMaxBytes: 10 << 20, LogMaxFiles: 5, AnswerTime: 30 * time.Second}
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	for name, path := range map[string]string{"StateDir": c.StateDir, "RuncPath": c.RuncPath, "ShimPath": c.ShimPath} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s %q is not an absolute path", name, path)
		}
	}
	if c.CgroupParent == "" || !filepath.IsLocal(c.CgroupParent) {
		return fmt.Errorf("CgroupParent %q is not a relative path", c.CgroupParent)
	}
	if c.AnswerTime <= 0 {
		return errors.New("AnswerTime is not positive")
	}
	if c.LogMaxBytes < 4096 {
		return errors.New("LogMaxBytes is less than 4096")
	}
	if c.LogMaxFiles < 2 {
		return errors.New("LogMaxFiles is less than 2")
	}
	return nil
}

// NewID returns a new container ID: 32 random bytes in hexadecimal.
func NewID() string {
	var id [32]byte
	_, _ = rand.Read(id[:]) // documented never to fail
	return hex.EncodeToString(id[:])
}
