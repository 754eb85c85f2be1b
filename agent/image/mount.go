package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/userns"
)

// loadMounts reads which containers have a root filesystem.
func (s *Store) loadMounts() error {
	entries, err := os.ReadDir(s.path("mounts"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		id, err := os.ReadFile(s.path("mounts", entry.Name(), "image"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		s.mounts[entry.Name()] = string(id)
	}
	return nil
}

// Mounts implements Images.
func (s *Store) Mounts() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.mounts))
	for id := range s.mounts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Mounted implements Images.
func (s *Store) Mounted(containerID string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.mounts[containerID]
	return id, ok && id != ""
}

// Mount implements Images.
func (s *Store) Mount(_ context.Context, imageID, containerID string, users *userns.Range) (RootFS, error) {
	if !filepath.IsLocal(containerID) || strings.ContainsRune(containerID, '/') {
		return RootFS{}, fmt.Errorf("mount image: invalid container ID %q", containerID)
	}
	image, err := s.claim(imageID, containerID)
	if err != nil {
		return RootFS{}, fmt.Errorf("mount image: %w", err)
	}
	target, err := s.mount(image, containerID, users)
	if err != nil {
		return RootFS{}, fmt.Errorf("mount image %s: %w", imageID, errors.Join(err, s.unmount(containerID)))
	}
	return RootFS{Path: target, Config: image.Config}, nil
}

// claim notes the use before the mount, so that the image cannot be removed.
func (s *Store) claim(imageID, containerID string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := s.getLocked(imageID)
	if err != nil {
		return Image{}, err
	}
	if other, ok := s.mounts[containerID]; ok && other != image.ID {
		return Image{}, fmt.Errorf("container %s has image %s", containerID, other)
	}
	image.LastUsed = time.Now().UTC()
	s.images[image.ID] = image
	s.mounts[containerID] = image.ID
	return image, nil
}

func (s *Store) mount(image Image, containerID string, users *userns.Range) (string, error) {
	dir := s.path("mounts", containerID)
	target := filepath.Join(dir, "rootfs")
	if mounted, err := mountinfo.Mounted(target); err == nil && mounted {
		return target, nil
	}
	// What an earlier boot left cannot be mounted again: it was never synced.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := makeMountDirs(dir, users); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "image"), []byte(image.ID), 0o600); err != nil {
		return "", err
	}
	return target, s.mountOverlay(dir, image.Layers, users)
}

// makeMountDirs makes the folders of one container's mount. Nobody else may come to
// its files: one that runs as root when executed would do so for any user of the
// node. A pod's own root is not the node's, and must pass.
func makeMountDirs(dir string, users *userns.Range) error {
	for _, name := range []string{"", "upper", "work", "rootfs", "empty"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	upper := filepath.Join(dir, "upper")
	if err := os.Chmod(upper, 0o755); err != nil { // whatever the umask
		return err
	}
	if users == nil {
		return os.Chmod(dir, 0o700)
	}
	root := int(users.First)
	return errors.Join(os.Lchown(upper, root, root), os.Lchown(dir, 0, root), os.Chmod(dir, 0o710))
}

// mountOverlay mounts a root filesystem made of layers at dir/rootfs.
func (s *Store) mountOverlay(dir string, layers []string, users *userns.Range) error {
	base, err := filepath.Rel(s.path("l"), dir)
	if err != nil {
		return err
	}
	target, options := filepath.Join(dir, "rootfs"), overlayOptions(lowerDirs(layers, base), base)
	if users == nil {
		return mountFrom(s.path("l"), target, options)
	}
	return s.mountMapped(target, options, *users)
}

// MapsUsers says why containers of pods with users of their own cannot have root
// filesystems here; nil if they can.
func (s *Store) MapsUsers() error {
	dir, err := os.MkdirTemp(s.path("tmp"), "users-")
	if err != nil {
		return fmt.Errorf("try to map users: %w", err)
	}
	at, base := filepath.Join(dir, "mount"), filepath.Join("..", "tmp", filepath.Base(dir), "mount")
	users := userns.Range{First: userns.Unit, Length: userns.Unit}
	if err = makeMountDirs(at, &users); err == nil {
		layers := filepath.Join("..", "layers") // all of them, as if they were one
		err = s.mountMapped(filepath.Join(at, "rootfs"), overlayOptions([]string{layers}, base), users)
	}
	_ = unix.Unmount(filepath.Join(at, "rootfs"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // if it is there
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("mount an image for other users: %w", err)
	}
	return nil
}

// lowerDirs are an image's layers, the top first, relative to the folder of short
// names; an image without layers is empty, as the folder of that name in base.
func lowerDirs(layers []string, base string) []string {
	lower := make([]string, 0, len(layers))
	for _, id := range slices.Backward(layers) {
		if name := shortName(id); !slices.Contains(lower, name) { // overlayfs refuses a folder twice
			lower = append(lower, name)
		}
	}
	if len(lower) == 0 {
		lower = append(lower, filepath.Join(base, "empty"))
	}
	return lower
}

// overlayOptions say what is mounted; upper and work are in base. Volatile: the files
// of a container are gone with it, syncing them would be wasted, and unmounting would
// wait for it.
func overlayOptions(lower []string, base string) string {
	return "volatile,lowerdir=" + strings.Join(lower, ":") +
		",upperdir=" + filepath.Join(base, "upper") + ",workdir=" + filepath.Join(base, "work")
}

// Unmount implements Images.
func (s *Store) Unmount(_ context.Context, containerID string) error {
	if !filepath.IsLocal(containerID) || strings.ContainsRune(containerID, '/') {
		return fmt.Errorf("unmount: invalid container ID %q", containerID)
	}
	if err := s.unmount(containerID); err != nil {
		return fmt.Errorf("unmount root filesystem of %s: %w", containerID, err)
	}
	return nil
}

func (s *Store) unmount(containerID string) error {
	dir := s.path("mounts", containerID)
	err := unix.Unmount(filepath.Join(dir, "rootfs"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mounts, containerID)
	return nil
}

// Written implements Images.
func (s *Store) Written(_ context.Context, containerID string) (diskusage.Usage, error) {
	if !filepath.IsLocal(containerID) || strings.ContainsRune(containerID, '/') {
		return diskusage.Usage{}, fmt.Errorf("measure a container: invalid container ID %q", containerID)
	}
	return diskusage.Of(s.path("mounts", containerID, "upper"))
}

// Usage implements Images.
func (s *Store) Usage() (Disk, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &stat); err != nil {
		return Disk{}, fmt.Errorf("image store usage: %w", err)
	}
	block := stat.Bsize
	return Disk{
		UsedBytes:      int64(stat.Blocks-stat.Bfree) * block,
		CapacityBytes:  int64(stat.Blocks) * block,
		AvailableBytes: int64(stat.Bavail) * block,
	}, nil
}

// CollectGarbage implements Images.
func (s *Store) CollectGarbage(ctx context.Context, policy Policy) (Collected, error) {
	var collected Collected
	before, err := s.Usage()
	if err != nil {
		return collected, err
	}
	if policy.HighPercent > 0 && before.percent() < policy.HighPercent {
		return collected, nil
	}
	for _, image := range s.unused(policy) {
		usage, err := s.Usage()
		if err != nil {
			return collected, err
		}
		if ctx.Err() != nil || policy.LowPercent > 0 && usage.percent() <= policy.LowPercent {
			break
		}
		if err := s.Remove(ctx, image.ID); err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrNotFound) {
			return collected, err
		} else if err == nil {
			collected.Images = append(collected.Images, image)
		}
	}
	s.mu.Lock()
	err = s.removeLayersLocked()
	s.mu.Unlock()
	after, usageErr := s.Usage()
	collected.Bytes = max(before.UsedBytes-after.UsedBytes, 0)
	return collected, errors.Join(err, usageErr, ctx.Err())
}

func (d Disk) percent() int {
	if d.CapacityBytes == 0 {
		return 0
	}
	return int((d.CapacityBytes - d.AvailableBytes) * 100 / d.CapacityBytes)
}

// unused are the images that may go, the least recently used first.
func (s *Store) unused(policy Policy) []Image {
	images := slices.DeleteFunc(s.List(), func(image Image) bool {
		return image.Pinned || policy.Keep != nil && policy.Keep(image)
	})
	slices.SortFunc(images, func(a, b Image) int { return a.LastUsed.Compare(b.LastUsed) })
	return images
}
