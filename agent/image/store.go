package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"navarch.dev/navarch/internal/telemetry"
)

// Config is what a Store needs to know.
type Config struct {
	// Dir holds the store. It must be on a filesystem that can be an overlayfs's
	// upper one: not on overlayfs itself.
	Dir string
	// InsecureRegistries ("host" or "host:port") may be spoken to without TLS.
	// Loopback addresses always may.
	InsecureRegistries []string
	// Mirrors are where images of some registries come from.
	Mirrors []Mirror
	// Platform chooses from a multi-platform image; this machine's if nil.
	Platform *v1.Platform
	// ParallelLayers bounds how many layers are fetched and unpacked at a time.
	ParallelLayers int
}

// DefaultConfig returns the defaults of what can have one.
func DefaultConfig() Config { return Config{ParallelLayers: 4} }

// MountsDir has a folder per container, with its root filesystem.
func (c Config) MountsDir() string { return filepath.Join(c.Dir, "mounts") }

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("Dir %q is not an absolute path", c.Dir)
	}
	if c.ParallelLayers < 1 {
		return errors.New("ParallelLayers is less than 1")
	}
	return nil
}

// Store is the Images of one folder.
type Store struct {
	cfg      Config
	tracer   trace.Tracer
	lock     *os.File
	platform v1.Platform
	slots    *semaphore.Weighted
	pulls    singleflight.Group
	unpacks  singleflight.Group

	mu     sync.Mutex
	images map[string]Image
	// mounts are image IDs by container ID.
	mounts map[string]string
	// held counts the imports that need a layer no image may have yet.
	held map[string]int
}

var _ Images = (*Store)(nil)

// Open opens the store, and makes it if there is none. One process at a time can
// have it open.
func Open(cfg Config, tel telemetry.Set) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	s := &Store{
		cfg: cfg, tracer: tel.Tracer(), platform: platformOf(cfg), slots: semaphore.NewWeighted(int64(cfg.ParallelLayers)),
		images: map[string]Image{}, mounts: map[string]string{}, held: map[string]int{},
	}
	if err := s.open(); err != nil {
		if s.lock != nil {
			_ = s.lock.Close()
		}
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

func (s *Store) open() error {
	for _, dir := range []string{"", "images", "layers", "l", "mounts"} {
		if err := os.MkdirAll(s.path(dir), 0o711); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s is in use by another process: %w", s.cfg.Dir, err)
	}
	if err := os.RemoveAll(s.path("tmp")); err != nil {
		return err
	}
	if err := os.Mkdir(s.path("tmp"), 0o700); err != nil {
		return err
	}
	if err := s.loadImages(); err != nil {
		return err
	}
	return s.loadMounts()
}

// Close lets another process open the store. Mounts stay.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, names...)...)
}

// loadImages reads the images whose layers are all there.
func (s *Store) loadImages() error {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		var image Image
		if err := readJSON(s.path("images", entry.Name()), &image); err != nil || !s.complete(image) {
			// Not one that was ever reported: it is left over from a crash.
			if err := os.Remove(s.path("images", entry.Name())); err != nil {
				return err
			}
			continue
		}
		s.images[image.ID] = image
	}
	return nil
}

func (s *Store) complete(image Image) bool {
	for _, layer := range image.Layers {
		if _, ok := s.layerSize(layer); !ok {
			return false
		}
	}
	return image.ID != ""
}

// Get implements Images.
func (s *Store) Get(reference string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.getLocked(reference)
}

func (s *Store) getLocked(reference string) (Image, error) {
	if image, ok := s.images[imageID(reference)]; ok {
		return image, nil
	}
	if strings.HasPrefix(reference, "sha256:") {
		return Image{}, fmt.Errorf("%s: %w", reference, ErrNotFound)
	}
	ref, err := s.parse(reference)
	if err != nil {
		return Image{}, err
	}
	name := normalName(ref)
	for _, image := range s.images {
		if slices.Contains(image.Names, name) || slices.Contains(image.Digests, name) {
			return image, nil
		}
	}
	return Image{}, fmt.Errorf("%s: %w", name, ErrNotFound)
}

// imageID completes an ID given without its algorithm.
func imageID(reference string) string {
	if len(reference) == 64 && !strings.ContainsAny(reference, "/:.") {
		return "sha256:" + reference
	}
	return reference
}

// List implements Images.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Image, 0, len(s.images))
	for _, id := range slices.Sorted(maps.Keys(s.images)) {
		all = append(all, s.images[id])
	}
	return all
}

// Remove implements Images.
func (s *Store) Remove(_ context.Context, reference string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := s.getLocked(reference)
	if err != nil {
		return err
	}
	if rest := s.withoutName(image, reference); rest != nil {
		return s.saveLocked(*rest)
	}
	if err := s.removeLocked(image); err != nil {
		return fmt.Errorf("remove image %s: %w", reference, err)
	}
	return s.removeLayersLocked()
}

// withoutName is the image with one name less, or nil if it has to go with it.
func (s *Store) withoutName(image Image, reference string) *Image {
	ref, err := s.parse(reference)
	if err != nil || image.ID == imageID(reference) {
		return nil
	}
	name := normalName(ref)
	same := func(other string) bool { return other == name }
	image.Names = slices.DeleteFunc(slices.Clone(image.Names), same)
	image.Digests = slices.DeleteFunc(slices.Clone(image.Digests), same)
	if len(image.Names) == 0 {
		return nil
	}
	return &image
}

// removeLocked removes an image that nothing uses. Its layers stay.
func (s *Store) removeLocked(image Image) error {
	for container, id := range s.mounts {
		if id == image.ID {
			return fmt.Errorf("%w by container %s", ErrInUse, container)
		}
	}
	if err := os.Remove(s.imageFile(image.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	delete(s.images, image.ID)
	return nil
}

func (s *Store) imageFile(id string) string {
	return s.path("images", strings.TrimPrefix(id, "sha256:")+".json")
}

// saveLocked writes an image, on disk first.
func (s *Store) saveLocked(image Image) error {
	if err := writeJSON(s.imageFile(image.ID), s.path("tmp"), image); err != nil {
		return fmt.Errorf("save image %s: %w", image.ID, err)
	}
	s.images[image.ID] = image
	return nil
}
