package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/diskusage"
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

// Mount implements Images.
func (s *Store) Mount(_ context.Context, imageID, containerID string) (RootFS, error) {
	if !filepath.IsLocal(containerID) || strings.ContainsRune(containerID, '/') {
		return RootFS{}, fmt.Errorf("mount image: invalid container ID %q", containerID)
	}
	image, err := s.claim(imageID, containerID)
	if err != nil {
		return RootFS{}, fmt.Errorf("mount image: %w", err)
	}
	target, err := s.mount(image, containerID)
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

func (s *Store) mount(image Image, containerID string) (string, error) {
	dir := s.path("mounts", containerID)
	target := filepath.Join(dir, "rootfs")
	if mounted, err := mountinfo.Mounted(target); err == nil && mounted {
		return target, nil
	}
	// What an earlier boot left cannot be mounted again: it was never synced.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	for _, name := range []string{"", "upper", "work", "rootfs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "upper"), 0o755); err != nil { // whatever the umask
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "image"), []byte(image.ID), 0o600); err != nil {
		return "", err
	}
	return target, mountFrom(s.path("l"), target, s.overlayOptions(image, containerID))
}

// overlayOptions are relative to the folder of short names. Volatile: the files
// of a container are gone with it, syncing them would be wasted, and unmounting
// would wait for it.
func (s *Store) overlayOptions(image Image, containerID string) string {
	lower := make([]string, 0, len(image.Layers))
	for _, id := range slices.Backward(image.Layers) {
		if name := shortName(id); !slices.Contains(lower, name) { // overlayfs refuses a folder twice
			lower = append(lower, name)
		}
	}
	base := filepath.Join("..", "mounts", containerID)
	if len(lower) == 0 {
		lower = append(lower, filepath.Join(base, "work")) // an image without layers is empty
	}
	return "volatile,lowerdir=" + strings.Join(lower, ":") +
		",upperdir=" + filepath.Join(base, "upper") + ",workdir=" + filepath.Join(base, "work")
}

// mountFrom mounts an overlay with options relative to a folder. The working
// directory is a thread's own after unshare; the thread ends with the goroutine.
func mountFrom(dir, target, options string) error {
	if len(options) >= os.Getpagesize() {
		return errors.New("the image has too many layers")
	}
	mounted := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			mounted <- os.NewSyscallError("unshare", err)
			return
		}
		if err := unix.Chdir(dir); err != nil {
			mounted <- os.NewSyscallError("chdir", err)
			return
		}
		mounted <- wrap("mount overlay", unix.Mount("overlay", target, "overlay", 0, options))
	}()
	return <-mounted
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
