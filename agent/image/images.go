package image

import (
	"context"
	"io"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/userns"
)

// Images is the images of one node. *Store implements it.
//
// A reference is an image's name with a tag or a digest, Docker Hub-style short
// forms included, or an image ID. All methods are safe for concurrent use.
type Images interface {
	// Pull brings an image from its registry, even if the node has one of that
	// name; layers the node has are not fetched again. Pulls of the same reference
	// with the same credentials share one download. Errors wrap one of this
	// package's; see Reason.
	Pull(ctx context.Context, reference string, credentials authn.Keychain) (Image, error)
	// Get returns an image of this node, or ErrNotFound, or ErrInvalidName.
	Get(reference string) (Image, error)
	// List returns all images, ordered by ID.
	List() []Image
	// Load adds the images of a docker-save or OCI-layout tar, compressed by gzip
	// or not.
	Load(ctx context.Context, tar io.Reader) ([]Image, error)
	// Remove removes a name of an image and, with its last one, the image. By
	// image ID it removes all names. ErrInUse if it is mounted.
	Remove(ctx context.Context, reference string) error
	// Mount mounts a root filesystem for a container and returns its path and the
	// image's configuration. Mounting it again for the same container succeeds.
	// users are those of a pod that has its own: they are whom the files belong to.
	Mount(ctx context.Context, imageID, containerID string, users *userns.Range) (RootFS, error)
	// Unmount unmounts and removes a container's root filesystem with all that it
	// wrote. One that is gone is no error.
	Unmount(ctx context.Context, containerID string) error
	// Mounted returns the ID of the image whose files are a container's root
	// filesystem, if it has one.
	Mounted(containerID string) (imageID string, ok bool)
	// Mounts returns the container IDs that have a root filesystem.
	Mounts() ([]string, error)
	// Written returns what a container's changes to its root filesystem take of the
	// disk.
	Written(ctx context.Context, containerID string) (diskusage.Usage, error)
	// CollectGarbage removes unused images, the least recently used first, until
	// the policy is met, and layers no image has.
	CollectGarbage(ctx context.Context, policy Policy) (Collected, error)
	// Usage returns the bytes and capacity of the filesystem that holds the store.
	Usage() (Disk, error)
}

// RootFS is a container's mounted root filesystem.
type RootFS struct {
	// Path is where it is mounted.
	Path string
	// Config is the image's.
	Config v1.Config
}

// Policy says when images are removed.
type Policy struct {
	// HighPercent is the disk usage at which collection begins, LowPercent the one
	// at which it ends. 0 for both removes every unused image.
	HighPercent, LowPercent int
	// Keep is never removed.
	Keep func(Image) bool
}

// Collected is what CollectGarbage did.
type Collected struct {
	Images []Image
	Bytes  int64
}

// Disk is a filesystem's use.
type Disk struct {
	UsedBytes, CapacityBytes, AvailableBytes int64
}
