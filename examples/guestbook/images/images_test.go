package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// binaries are stand-ins: an image does not care what it runs.
func binaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range programs() {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("the binary of "+program), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contents returns an image's files, with what the regular ones hold.
func contents(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	files := mutate.Extract(image)
	defer files.Close()
	out := make(map[string]string)
	r := tar.NewReader(files)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(data)
	}
}

func TestTar(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.tar")
	if err := run(t.Context(), options{tar: file, binaries: binaries(t), named: "localhost:5000"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("localhost:5000/guestbook/web:v1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"data": "", "web": "the binary of web"}
	if diff := cmp.Diff(want, contents(t, image)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/web"}, config.Config.Entrypoint); diff != "" || config.Config.User != "65532:65532" || config.OS != "linux" {
		t.Errorf("configuration: %+v", config)
	}
}

func TestImagesAreReproducible(t *testing.T) {
	var digests []v1.Hash
	for range 2 {
		images, err := makeImages(t.Context(), binaries(t))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := images["store"].Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds differ: %v", digests)
	}
}

// TestServe pulls an image from the registry.
func TestServe(t *testing.T) {
	for _, blobs := range []string{"", t.TempDir()} {
		ctx, cancel := context.WithCancel(t.Context())
		out, in := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, options{serve: "127.0.0.1:0", blobs: blobs, binaries: binaries(t)}, in)
			_ = in.Close()
		}()
		lines := bufio.NewScanner(out)
		address := ""
		for address == "" && lines.Scan() {
			address, _ = strings.CutPrefix(lines.Text(), "serving ")
			if !strings.HasPrefix(lines.Text(), "serving ") {
				address = ""
			}
		}
		if address == "" {
			t.Fatalf("the registry ended: %v", <-done)
		}
		tag, err := reference(address, "store")
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(tag)
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, image)["store"]; got != "the binary of store" {
			t.Errorf("pulled %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the registry ended: %v", err)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	if err := run(t.Context(), options{}, io.Discard); err == nil {
		t.Error("nothing to do is no error")
	}
}
