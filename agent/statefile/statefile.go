// Package statefile writes the agent's own state: files that are either the
// old ones or the new ones, whatever happens to the agent in between. Unlike
// internal/atomicfile it does not wait for the disk, because it is on the path
// of every pod's start and no pod survives a power cut.
package statefile

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces the file at path. A reader sees the old content or the new
// one.
func Write(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	defer os.Remove(f.Name()) // fails harmlessly once renamed
	if err := fill(f, content, mode); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("put the new file in place: %w", err)
	}
	return nil
}

func fill(f *os.File, content []byte, mode os.FileMode) error {
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("set the mode of %s: %w", f.Name(), err)
	}
	return f.Close()
}
