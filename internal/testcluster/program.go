package testcluster

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// LoadProgram loads an image onto all nodes that holds nothing but a program,
// statically linked from the Go package in folder pkg, and runs it with the
// argument "serve" unless told otherwise. The program is at the top, by the
// package's name.
func (c *Cluster) LoadProgram(tb testing.TB, image, pkg string) {
	tb.Helper()
	program := filepath.Join(tb.TempDir(), filepath.Base(pkg))
	build := exec.CommandContext(tb.Context(), "go", "build", "-o", program, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	path := program + ".tar"
	if err := writeImage(path, image, program); err != nil {
		tb.Fatalf("write the image of %s: %v", pkg, err)
	}
	c.Tool(tb, "image", "load", path)
}

func writeImage(path, image, program string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	base := filepath.Base(program)
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: base, Mode: 0o755, Size: int64(len(data))}); err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = runtime.GOOS, runtime.GOARCH
	config.Config.Entrypoint, config.Config.Cmd = []string{"/" + base}, []string{"serve"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	ref, err := name.NewTag(image)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, ref, img)
}
