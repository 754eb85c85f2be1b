package testcluster

import (
	"path/filepath"
	"testing"

	"navarch.dev/navarch/internal/busybox"
)

// BusyboxImage is the name of the image that LoadBusybox loads.
const BusyboxImage = busybox.Image

// LoadBusybox loads the busybox image onto all nodes.
func (c *Cluster) LoadBusybox(tb testing.TB) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "busybox.tar")
	if err := busybox.WriteImage(path); err != nil {
		tb.Fatal(err)
	}
	c.Tool(tb, "image", "load", path)
}
