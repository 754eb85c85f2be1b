package hollow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/userns"
)

// hollowImages implements image.Images: every image with a well-formed name is
// in its registry, and its first pull onto a node takes a while.
type hollowImages struct {
	node   string
	cfg    *Config
	chance chance
	counts *counts

	mu    sync.Mutex // guards the maps
	have  map[string]bool
	pulls map[string]int // failed ones, by reference
}

func newImages(node string, cfg *Config, counts *counts) *hollowImages {
	return &hollowImages{
		node: node, cfg: cfg, chance: chance(cfg.Seed), counts: counts, have: make(map[string]bool), pulls: make(map[string]int),
	}
}

// Pull implements image.Images.
func (i *hollowImages) Pull(ctx context.Context, reference string, _ authn.Keychain) (image.Image, error) {
	img, err := describe(i.chance, reference)
	if err != nil {
		return img, err
	}
	i.mu.Lock()
	try := strconv.Itoa(i.pulls[reference])
	present := i.have[reference]
	i.mu.Unlock()
	if present {
		return img, nil // the registry only says that nothing has changed
	}
	if err := sleep(ctx, i.chance.around(i.cfg.ImageLatency, i.cfg.LatencySpread, "pull", i.node, reference, try)); err != nil {
		return img, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.chance.happens(i.cfg.PullFailRate, "pull-fail", i.node, reference, try) {
		i.pulls[reference]++
		i.counts.failed("pull")
		return img, errors.New("the hollow node was told to let pulls fail (--pull-fail-rate)")
	}
	delete(i.pulls, reference)
	i.have[strings.Clone(reference)] = true // the pod is not kept for its sake
	return img, nil
}

// add notes an image that the node has had before.
func (i *hollowImages) add(reference string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.have[strings.Clone(reference)] = true
}

// Get implements image.Images.
func (i *hollowImages) Get(reference string) (image.Image, error) {
	i.mu.Lock()
	present := i.have[reference]
	i.mu.Unlock()
	if !present {
		return image.Image{}, fmt.Errorf("%s: %w", reference, image.ErrNotFound)
	}
	return describe(i.chance, reference)
}

const (
	leastImage = 5 << 20
	mostImage  = 500 << 20
)

// describe makes up an image from its name, the same every time.
func describe(c chance, reference string) (image.Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return image.Image{}, fmt.Errorf("%w: %w", image.ErrInvalidName, err)
	}
	sum := sha256.Sum256([]byte(ref.Name()))
	id := "sha256:" + hex.EncodeToString(sum[:])
	return image.Image{
		ID: id, Names: []string{ref.Name()}, Digests: []string{ref.Context().Name() + "@" + id},
		SizeBytes: leastImage + int64(c.draw("size", ref.Name())*(mostImage-leastImage)),
	}, nil
}

// List implements image.Images.
func (i *hollowImages) List() []image.Image {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make([]image.Image, 0, len(i.have))
	for reference := range i.have {
		if img, err := describe(i.chance, reference); err == nil {
			all = append(all, img)
		}
	}
	slices.SortFunc(all, func(a, b image.Image) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b image.Image) bool { return a.ID == b.ID })
}

// maxNodeImages bounds the images that a Node lists, as agents do.
const maxNodeImages = 50

// ofNode returns the images as the Node lists them.
func (i *hollowImages) ofNode() []corev1.ContainerImage {
	all := i.List()
	var out []corev1.ContainerImage
	for _, img := range all[:min(len(all), maxNodeImages)] {
		out = append(out, corev1.ContainerImage{Names: append(img.Digests, img.Names...), SizeBytes: img.SizeBytes})
	}
	return out
}

// Remove implements image.Images.
func (i *hollowImages) Remove(_ context.Context, reference string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.have[reference] {
		return fmt.Errorf("%s: %w", reference, image.ErrNotFound)
	}
	delete(i.have, reference)
	return nil
}

// Load implements image.Images.
func (*hollowImages) Load(context.Context, io.Reader) ([]image.Image, error) {
	return nil, errors.New("a hollow node keeps no images")
}

// Mount implements image.Images.
func (*hollowImages) Mount(context.Context, string, string, *userns.Range) (image.RootFS, error) {
	return image.RootFS{}, nil
}

// Unmount implements image.Images.
func (*hollowImages) Unmount(context.Context, string) error { return nil }

// Mounted implements image.Images.
func (*hollowImages) Mounted(string) (string, bool) { return "", false }

// Mounts implements image.Images.
func (*hollowImages) Mounts() ([]string, error) { return nil, nil }

// Written implements image.Images.
func (*hollowImages) Written(context.Context, string) (diskusage.Usage, error) {
	return diskusage.Usage{}, nil
}

// CollectGarbage implements image.Images.
func (*hollowImages) CollectGarbage(context.Context, image.Policy) (image.Collected, error) {
	return image.Collected{}, nil
}

// Usage implements image.Images.
func (*hollowImages) Usage() (image.Disk, error) { return image.Disk{}, nil }
