package image_test

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/agent/userns"
)

// TestMountForUsers: the files of an image, and what is written beside them, belong
// to the users of the pod; the image itself stays as it is.
func TestMountForUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	h, s := startHub(t, nil), newStore(t)
	if err := s.MapsUsers(); errors.Is(err, userns.ErrNoMapping) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	reference := h.push(t, "team/app:1", build(t,
		layer(t, entry{name: "etc/a", text: "base"}, entry{name: "su", text: "x", mode: 0o4755}, entry{name: "owned", text: "o", uid: 1234}),
		layer(t, entry{name: "top", text: "t"}, entry{name: "link", kind: tar.TypeSymlink, link: "/etc/a"})))
	pulled, err := s.Pull(t.Context(), reference, nil)
	if err != nil {
		t.Fatal(err)
	}
	users := userns.Range{First: 9 * userns.Unit, Length: userns.Unit}
	root, err := s.Mount(t.Context(), pulled.ID, "c1", &users)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := s.Mount(t.Context(), pulled.ID, "c2", nil)
	if err != nil {
		t.Fatal(err)
	}
	// A copy-up keeps the owner.
	if err := os.WriteFile(filepath.Join(root.Path, "owned"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(filepath.Join(root.Path, "su"), int(users.First)+5, int(users.First)+6); err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{".": 0, "etc/a": 0, "owned": 1234, "top": 0, "link": 0, "su": 5}
	if diff := cmp.Diff(want, owners(t, root.Path, users.First, want)); diff != "" {
		t.Error("for the pod", diff)
	}
	want["su"] = 0
	if diff := cmp.Diff(want, owners(t, plain.Path, 0, want)); diff != "" {
		t.Error("for another pod", diff)
	}
	for _, mount := range []string{root.Path, plain.Path} {
		if info, err := os.Stat(filepath.Dir(mount)); err != nil || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("any user of the node comes to %s: %v, %v", mount, info.Mode(), err)
		}
	}
	for _, id := range []string{"c1", "c2"} {
		if err := s.Unmount(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(root.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the unmount: %v", err)
	}
	if _, err := s.Mount(t.Context(), pulled.ID, "c3", nil); err != nil {
		t.Errorf("the image was not left as it was: %v", err)
	}
}

// owners are the user IDs of files below dir less first.
func owners(t *testing.T, dir string, first uint32, names map[string]uint32) map[string]uint32 {
	t.Helper()
	all := make(map[string]uint32, len(names))
	for name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = info.Sys().(*syscall.Stat_t).Uid - first
	}
	return all
}

// TestMountEmpty: an image may have no layers at all.
func TestMountEmpty(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	h, s := startHub(t, nil), newStore(t)
	pulled, err := s.Pull(t.Context(), h.push(t, "team/none:1", build(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.Mount(t.Context(), pulled.ID, "c1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(root.Path); err != nil || len(entries) > 0 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}
