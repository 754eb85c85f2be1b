// Package image keeps the images of one node: it pulls them from registries or
// loads them from tars, unpacks each layer once, and mounts root filesystems
// made of those layers with overlayfs.
//
// # State on disk
//
//	<Dir>/
//	  lock                            held by the process that has the store open
//	  images/<config digest>.json     one image: its names, digests, config, layers
//	  layers/<diff ID>/               one unpacked layer, shared by all images with it
//	    fs/                           its files; whiteouts in overlayfs's form
//	    size                          bytes, written last: a folder without it is left over
//	  l/<short name>                  symlinks to layers, to keep mount options short
//	  mounts/<container ID>/          one root filesystem
//	    image                         the image ID
//	    upper/ work/                  what the container writes
//	  tmp/                            downloads and half-unpacked layers; emptied when opened
//
// Everything becomes visible by a rename, so that a crash leaves at worst
// something in tmp.
package image

import (
	"errors"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Sentinel errors. Compare with errors.Is; the text is for people.
var (
	// ErrNotFound: this node has no such image.
	ErrNotFound = errors.New("image not found on this node")
	// ErrInUse: a container's root filesystem is made of the image.
	ErrInUse = errors.New("image is in use")
	// ErrInvalidName: the reference is not a valid image name.
	ErrInvalidName = errors.New("invalid image name")
	// ErrRegistryNotFound: the registry has no such image.
	ErrRegistryNotFound = errors.New("image not found in the registry")
	// ErrUnauthorized: the registry wants other credentials.
	ErrUnauthorized = errors.New("the registry refused the credentials")
	// ErrRegistryUnavailable: the registry could not be reached or failed.
	ErrRegistryUnavailable = errors.New("registry unavailable")
	// ErrPlatform: the image has no variant for this machine.
	ErrPlatform = errors.New("no image for this platform")
	// ErrCorrupt: what came is not what its digest says, or not an image.
	ErrCorrupt = errors.New("corrupt image")
)

// Reasons of a waiting container, in the words Kubernetes uses.
const (
	ReasonErrImagePull       = "ErrImagePull"
	ReasonInvalidImageName   = "InvalidImageName"
	ReasonRegistryUnvailable = "RegistryUnavailable"
)

// Reason names an error of Pull in the words Kubernetes uses for a waiting
// container. Callers add ImagePullBackOff and ErrImageNeverPull themselves.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrInvalidName):
		return ReasonInvalidImageName
	case errors.Is(err, ErrRegistryUnavailable):
		return ReasonRegistryUnvailable
	default:
		return ReasonErrImagePull
	}
}

// Image is one image of the store.
type Image struct {
	// ID is the config's digest, "sha256:…".
	ID string `json:"id"`
	// Names are full references with a tag: "docker.io/library/nginx:1.27".
	Names []string `json:"names,omitempty"`
	// Digests are full references with a digest.
	Digests []string `json:"digests,omitempty"`
	// SizeBytes is what the unpacked layers take, shared ones included.
	SizeBytes int64 `json:"sizeBytes"`
	// Config is what a container of the image runs by default.
	Config v1.Config `json:"config"`
	// Layers are the diff IDs, lowest first.
	Layers []string `json:"layers"`
	// LastUsed is when it was last pulled or mounted.
	LastUsed time.Time `json:"lastUsed"`
	// Pinned images are never garbage-collected.
	Pinned bool `json:"pinned,omitempty"`
}
