package eviction

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Signal is what a node can be short of.
type Signal string

// The signals, with Kubernetes' names.
const (
	Memory Signal = "memory.available"
	Disk   Signal = "nodefs.available"
	Inodes Signal = "nodefs.inodesFree"
)

// Shortage says that less is available than a threshold, in bytes or, of inodes,
// how many.
type Shortage struct {
	Signal               Signal
	Available, Threshold int64
}

// resource is what Kubernetes tells users that the node was low on.
func (s Shortage) resource() corev1.ResourceName {
	switch s.Signal {
	case Memory:
		return corev1.ResourceMemory
	case Inodes:
		return "inodes"
	}
	return corev1.ResourceEphemeralStorage
}

const (
	leastMemory = 100 << 20
	// leastDisk and leastInodes are parts of all there are.
	leastDiskPercent   = 5
	leastInodesPercent = 5
)

// Read looks at what is left of the machine's memory and of the disk of a folder,
// and returns what is short, memory first. What cannot be read is not short.
func Read(dir string) []Shortage {
	var all []Shortage
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if available, ok := memAvailable(b); ok {
			all = append(all, Shortage{Memory, available, leastMemory})
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil {
		all = append(all,
			Shortage{Disk, int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize / 100 * leastDiskPercent},
			Shortage{Inodes, int64(fs.Ffree), int64(fs.Files) / 100 * leastInodesPercent})
	}
	var short []Shortage
	for _, s := range all {
		if s.Available < s.Threshold {
			short = append(short, s)
		}
	}
	return short
}

// memAvailable finds MemAvailable, in bytes.
func memAvailable(meminfo []byte) (int64, bool) {
	for line := range bytes.Lines(meminfo) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != "MemAvailable:" {
			continue
		}
		kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
		return kib << 10, err == nil
	}
	return 0, false
}
