package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// module is where the programs' sources are.
const module = "navarch.dev/navarch/examples/guestbook/"

// programs are the guestbook's parts; each becomes an image.
func programs() []string { return []string{"web", "store"} }

// makeImages returns an image for each program.
func makeImages(ctx context.Context, binaries string) (map[string]v1.Image, error) {
	if binaries == "" {
		dir, err := os.MkdirTemp("", "guestbook-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for binaries: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := compile(ctx, dir); err != nil {
			return nil, err
		}
		binaries = dir
	}
	images := make(map[string]v1.Image)
	for _, program := range programs() {
		binary, err := os.ReadFile(filepath.Join(binaries, program))
		if err != nil {
			return nil, fmt.Errorf("read the binary of %s: %w", program, err)
		}
		if images[program], err = makeImage(program, binary); err != nil {
			return nil, fmt.Errorf("make the image of %s: %w", program, err)
		}
	}
	return images, nil
}

// compile builds the programs into a folder, without C and so static.
func compile(ctx context.Context, dir string) error {
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}
	for _, program := range programs() {
		args = append(args, module+program)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// nobody is the user that the programs run as.
const nobody = 65532

// makeImage puts one binary into an image that runs it.
func makeImage(program string, binary []byte) (v1.Image, error) {
	layer, err := makeLayer(program, binary)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("add the layer: %w", err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{
		Entrypoint:   []string{"/" + program},
		Env:          []string{"PATH=/"},
		User:         fmt.Sprintf("%d:%d", nobody, nobody),
		WorkingDir:   "/",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}
	return mutate.ConfigFile(image, file)
}

// makeLayer holds the binary and an empty folder for data.
func makeLayer(program string, binary []byte) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	headers := []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o755, Uid: nobody, Gid: nobody},
		{Typeflag: tar.TypeReg, Name: program, Mode: 0o755, Size: int64(len(binary))},
	}
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write the layer: %w", err)
		}
	}
	if _, err := w.Write(binary); err != nil {
		return nil, fmt.Errorf("write the layer: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write the layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}
