package image

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Annotations by which an OCI layout names its images.
const (
	annotationName    = "io.containerd.image.name"
	annotationRefName = "org.opencontainers.image.ref.name"
)

// Load implements Images.
func (s *Store) Load(ctx context.Context, archive io.Reader) ([]Image, error) {
	dir, err := os.MkdirTemp(s.path("tmp"), "load-")
	if err != nil {
		return nil, fmt.Errorf("load images: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	images, err := s.load(ctx, archive, dir)
	if err != nil {
		return nil, fmt.Errorf("load images: %w", err)
	}
	return images, nil
}

// load spools the archive: both of its forms have their index anywhere in it.
func (s *Store) load(ctx context.Context, archive io.Reader, dir string) ([]Image, error) {
	path := filepath.Join(dir, "archive.tar")
	if err := spool(&contextReader{ctx, archive}, path); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return os.Open(path) }
	manifest, err := tarball.LoadManifest(opener)
	if err == nil {
		return s.loadDocker(ctx, opener, manifest)
	}
	layoutDir := filepath.Join(dir, "layout")
	if err := unpackLayout(path, layoutDir); err != nil {
		return nil, err
	}
	index, layoutErr := layout.ImageIndexFromPath(layoutDir)
	if layoutErr != nil {
		return nil, fmt.Errorf("%w: neither a docker-save archive (%w) nor an OCI layout (%w)", ErrCorrupt, err, layoutErr)
	}
	return s.loadIndex(ctx, index)
}

func spool(archive io.Reader, path string) error {
	buffered := bufio.NewReader(archive)
	source := io.Reader(buffered)
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		source = unzipped
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, source)
	return errors.Join(err, f.Close())
}

func unpackLayout(path, dir string) error {
	archive, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	_, err = untar(archive, dir)
	return err
}

func (s *Store) loadDocker(ctx context.Context, opener tarball.Opener, manifest tarball.Manifest) ([]Image, error) {
	var images []Image
	for _, descriptor := range manifest {
		source, err := dockerImage(opener, descriptor, len(manifest))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		var names []string
		for _, tag := range descriptor.RepoTags {
			ref, err := s.parse(tag)
			if err != nil {
				return nil, err
			}
			names = append(names, normalName(ref))
		}
		image, err := s.ingest(ctx, source, names, nil)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// dockerImage opens one image of the archive; one without a name can be found
// only if it is alone.
func dockerImage(opener tarball.Opener, descriptor tarball.Descriptor, count int) (v1.Image, error) {
	if len(descriptor.RepoTags) == 0 {
		if count > 1 {
			return nil, errors.New("one of several images has no name")
		}
		return tarball.Image(opener, nil)
	}
	tag, err := name.NewTag(descriptor.RepoTags[0])
	if err != nil {
		return nil, err
	}
	return tarball.Image(opener, &tag)
}

// loadIndex stores the images of an index that are for this machine.
func (s *Store) loadIndex(ctx context.Context, index v1.ImageIndex) ([]Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var images []Image
	for _, descriptor := range manifest.Manifests {
		source, err := s.imageOf(index, descriptor)
		if errors.Is(err, ErrPlatform) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		names, digests := layoutNames(descriptor)
		image, err := s.ingest(ctx, source, names, digests)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%w %s", ErrPlatform, s.platform.String())
	}
	return images, nil
}

func (s *Store) imageOf(index v1.ImageIndex, descriptor v1.Descriptor) (v1.Image, error) {
	switch {
	case descriptor.MediaType.IsIndex():
		inner, err := index.ImageIndex(descriptor.Digest)
		if err != nil {
			return nil, err
		}
		return s.chooseFrom(inner)
	case !descriptor.MediaType.IsImage():
		return nil, ErrPlatform
	case descriptor.Platform != nil && !descriptor.Platform.Satisfies(s.platform):
		return nil, ErrPlatform
	}
	return index.Image(descriptor.Digest)
}

// layoutNames are the names in a layout's annotations that are whole references;
// a bare tag names nothing.
func layoutNames(descriptor v1.Descriptor) (names, digests []string) {
	for _, annotation := range []string{annotationName, annotationRefName} {
		text := descriptor.Annotations[annotation]
		ref, err := name.ParseReference(text)
		if err != nil || annotation == annotationRefName && !isFull(text) {
			continue
		}
		return []string{normalName(ref)}, []string{withDigest(ref, descriptor.Digest)}
	}
	return nil, nil
}

// isFull tells "example.com/app:1" from a bare tag "1".
func isFull(text string) bool { return strings.ContainsAny(text, "/:") }
