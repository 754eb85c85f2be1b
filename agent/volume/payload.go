package volume

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// file is one file of a payload.
type file struct {
	content []byte
	mode    os.FileMode
	owner   *int64 // nil is root
}

// payload is the files of a projected volume by their relative path.
type payload map[string]file

const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
)

// writePayload makes dir show exactly the payload, changing from the old one
// to the new one in a single rename, as Kubernetes does:
//
//	dir/key              -> ..data/key
//	dir/..data           -> ..<version>
//	dir/..<version>/key  the content
//
// own is applied to the new version before it can be seen.
func writePayload(dir string, p payload, own func(string) error) error {
	if err := checkPaths(p); err != nil {
		return err
	}
	old, _ := os.Readlink(filepath.Join(dir, dataLink))
	if old != "" && p.sameAs(filepath.Join(dir, old)) {
		return nil
	}
	version, err := os.MkdirTemp(dir, "..v")
	if err != nil {
		return fmt.Errorf("make the volume's new version: %w", err)
	}
	if err := p.fill(version, own); err != nil {
		return errors.Join(err, os.RemoveAll(version))
	}
	if err := switchTo(dir, filepath.Base(version)); err != nil {
		return errors.Join(err, os.RemoveAll(version))
	}
	if err := p.link(dir); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(dir, filepath.Base(old)))
	}
	return nil
}

// checkPaths refuses paths that leave the volume or hide its machinery.
func checkPaths(p payload) error {
	for name := range p {
		clean := path.Clean(name)
		if name == "" || path.IsAbs(name) || clean == "." || clean != name || strings.HasPrefix(name, "..") {
			return fmt.Errorf("invalid path %q in the volume", name)
		}
	}
	return nil
}

func (p payload) fill(version string, own func(string) error) error {
	if err := os.Chmod(version, 0o755); err != nil {
		return fmt.Errorf("set the mode of the volume: %w", err)
	}
	for name, f := range p {
		at := filepath.Join(version, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return fmt.Errorf("make a folder of the volume: %w", err)
		}
		if err := os.WriteFile(at, f.content, f.mode); err != nil {
			return fmt.Errorf("write a file of the volume: %w", err)
		}
		if err := os.Chmod(at, f.mode); err != nil { // whatever the umask
			return fmt.Errorf("set the mode of a file of the volume: %w", err)
		}
		if f.owner == nil {
			continue
		}
		if err := os.Chown(at, int(*f.owner), -1); err != nil {
			return fmt.Errorf("give a file of the volume to the user %d: %w", *f.owner, err)
		}
	}
	if own == nil {
		return nil
	}
	return own(version)
}

func switchTo(dir, version string) error {
	fresh := filepath.Join(dir, dataLinkNew)
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an unfinished link: %w", err)
	}
	if err := os.Symlink(version, fresh); err != nil {
		return fmt.Errorf("link the volume's new version: %w", err)
	}
	if err := os.Rename(fresh, filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("switch to the volume's new version: %w", err)
	}
	return nil
}

// link makes the names that users see, and removes those that are gone.
func (p payload) link(dir string) error {
	wanted := make(map[string]bool)
	for name := range p {
		first, _, _ := strings.Cut(name, "/")
		wanted[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the volume: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove a name from the volume: %w", err)
			}
		}
	}
	for name := range wanted {
		err := os.Symlink(path.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("link a name of the volume: %w", err)
		}
	}
	return nil
}

// sameAs says whether a version already holds the payload.
func (p payload) sameAs(version string) bool {
	count := 0
	err := filepath.WalkDir(version, func(at string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(version, at)
		if err != nil {
			return err
		}
		want, ok := p[rel]
		if !ok {
			return errDiffers
		}
		have, err := os.ReadFile(at)
		if err != nil || !bytes.Equal(have, want.content) {
			return errors.Join(err, errDiffers)
		}
		count++
		return nil
	})
	return err == nil && count == len(p)
}

var errDiffers = errors.New("the volume differs")
