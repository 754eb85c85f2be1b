package network_test

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

	"navarch.dev/navarch/internal/testcluster"
)

// image is what every pod of these tests runs: netprobe and nothing else.
const image = "test.local/netprobe:1"

func loadImage(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "netprobe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./netprobe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build netprobe: %v\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "netprobe.tar")
	if err := writeImage(path, program); err != nil {
		t.Fatalf("write the image: %v", err)
	}
	c.Tool(t, "image", "load", path)
}

func writeImage(path, program string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "netprobe", Mode: 0o755, Size: int64(len(data))}); err != nil {
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
	config.Config.Entrypoint, config.Config.Cmd = []string{"/netprobe"}, []string{"serve"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	ref, err := name.NewTag(image)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, ref, img)
}
