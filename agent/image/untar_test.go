package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func archive(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, header := range headers {
		header.Mode = 0o644
		if header.Typeflag == tar.TypeReg {
			header.Size = 4
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("evil")); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = w.Close()
	return buffer.Bytes()
}

// attacks are archives that try to write outside of their folder.
func attacks(t testing.TB) map[string][]byte {
	reg, link, hard, dir := byte(tar.TypeReg), byte(tar.TypeSymlink), byte(tar.TypeLink), byte(tar.TypeDir)
	return map[string][]byte{
		"dots":              archive(t, &tar.Header{Name: "../../victim", Typeflag: reg}),
		"absolute":          archive(t, &tar.Header{Name: "/../victim", Typeflag: reg}),
		"through a link":    archive(t, &tar.Header{Name: "l", Typeflag: link, Linkname: ".."}, &tar.Header{Name: "l/victim", Typeflag: reg}),
		"over a link":       archive(t, &tar.Header{Name: "l", Typeflag: link, Linkname: "../victim"}, &tar.Header{Name: "l", Typeflag: reg}),
		"hard link out":     archive(t, &tar.Header{Name: "l", Typeflag: hard, Linkname: "../victim"}, &tar.Header{Name: "l", Typeflag: reg}),
		"hard link by link": archive(t, &tar.Header{Name: "d", Typeflag: link, Linkname: ".."}, &tar.Header{Name: "l", Typeflag: hard, Linkname: "d/victim"}),
		"whiteout":          archive(t, &tar.Header{Name: "l", Typeflag: link, Linkname: ".."}, &tar.Header{Name: "l/.wh.victim", Typeflag: reg}),
		"whiteout of dots":  archive(t, &tar.Header{Name: ".wh...", Typeflag: reg}),
		"opaque by link":    archive(t, &tar.Header{Name: "l", Typeflag: link, Linkname: ".."}, &tar.Header{Name: "l/.wh..wh..opq", Typeflag: reg}),
		"folder over link":  archive(t, &tar.Header{Name: "l", Typeflag: link, Linkname: ".."}, &tar.Header{Name: "l", Typeflag: dir}, &tar.Header{Name: "l/victim", Typeflag: reg}),
	}
}

// contain unpacks an archive and fails if anything beside its folder changed.
func contain(t *testing.T, data []byte) error {
	t.Helper()
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(outside, "layer")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := untar(bytes.NewReader(data), dir)
	if text, readErr := os.ReadFile(victim); readErr != nil || string(text) != "safe" {
		t.Errorf("the victim is %q, %v", text, readErr)
	}
	if info, statErr := os.Stat(victim); statErr == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("the victim's mode is %v", info.Mode())
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 2 {
		t.Errorf("outside: %v", entries)
	}
	return err
}

func TestUntarStaysInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("setting owners needs root")
	}
	for name, data := range attacks(t) {
		t.Run(name, func(t *testing.T) { _ = contain(t, data) })
	}
}

func TestUntarCorrupt(t *testing.T) {
	whole := archive(t, &tar.Header{Name: "a", Typeflag: tar.TypeReg})
	if err := contain(t, whole[:514]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

func FuzzUntar(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("setting owners needs root")
	}
	for _, data := range attacks(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { _ = contain(t, data) })
}

func FuzzCredentials(f *testing.F) {
	f.Add([]byte(`{"auths":{"docker.io":{"auth":"bWU6c2VjcmV0"}}}`))
	f.Add([]byte(`{"*.example.com/team":{"username":"u","password":"p"}}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ParseCredentials(data) })
}
