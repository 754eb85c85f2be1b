package eviction

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"time"

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
	PIDs   Signal = "pid.available"
)

// Shortage says that less is available than a threshold, in bytes or, of inodes
// and process IDs, how many.
type Shortage struct {
	Signal               Signal
	Available, Threshold int64
	// Grace is how long it must last for pods to be evicted; 0 where the threshold is
	// a hard one.
	Grace time.Duration
}

// hard says whether something is done about it at once.
func (s Shortage) hard() bool { return s.Grace == 0 }

// resource is what Kubernetes tells users that the node was low on.
func (s Shortage) resource() corev1.ResourceName {
	switch s.Signal {
	case Memory:
		return corev1.ResourceMemory
	case Inodes:
		return "inodes"
	case PIDs:
		return "pids"
	}
	return corev1.ResourceEphemeralStorage
}

// onDisk says whether the removal of images may help.
func (s Shortage) onDisk() bool { return s.Signal == Disk || s.Signal == Inodes }

// level is what there is of something in all, and what of it is left.
type level struct{ available, total int64 }

// Short looks at what is left of the machine's memory, of the disk of a folder and
// of process IDs, and returns what is short: by hard thresholds first, then by soft
// ones, and memory first; before is what was. What cannot be read is not short.
func (l Limits) Short(dir string, before []Shortage) []Shortage {
	levels := make(map[Signal]level)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		available, has := memInfo(b, "MemAvailable:")
		total, hasTotal := memInfo(b, "MemTotal:")
		if has && hasTotal {
			levels[Memory] = level{available, total}
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil {
		levels[Disk] = level{int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize}
		levels[Inodes] = level{int64(fs.Ffree), int64(fs.Files)}
	}
	limit, err := os.ReadFile("/proc/sys/kernel/pid_max")
	load, errLoad := os.ReadFile("/proc/loadavg")
	if err == nil && errLoad == nil {
		if pids, ok := pidsLeft(limit, load); ok {
			levels[PIDs] = pids
		}
	}
	return l.shortOf(levels, before)
}

// shortOf compares levels with the limits. What is short by a hard threshold is not
// told of again for a soft one.
func (l Limits) shortOf(levels map[Signal]level, before []Shortage) []Shortage {
	var hard, soft []Shortage
	for _, s := range signals {
		has, ok := levels[s]
		if !ok {
			continue
		}
		if least := l.least(l.Least, has.total, s, 0, before); has.available < least {
			hard = append(hard, Shortage{s, has.available, least, 0})
		} else if least := l.least(l.Soft, has.total, s, l.Grace[s], before); has.available < least {
			soft = append(soft, Shortage{s, has.available, least, l.Grace[s]})
		}
	}
	return append(hard, soft...)
}

// least is what must be left of something: by a threshold, and more while it was short
// of it by that. 0 is no threshold.
func (l Limits) least(thresholds Thresholds, total int64, s Signal, grace time.Duration, before []Shortage) int64 {
	least := thresholds[s].of(total)
	if least > 0 && slices.ContainsFunc(before, func(b Shortage) bool { return b.Signal == s && b.Grace == grace }) {
		least += l.Reclaim[s].of(total)
	}
	return least
}

// memInfo finds a line of /proc/meminfo, in bytes.
func memInfo(meminfo []byte, name string) (int64, bool) {
	for line := range bytes.Lines(meminfo) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != name {
			continue
		}
		kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
		return kib << 10, err == nil
	}
	return 0, false
}

// pidsLeft reads how many process IDs are left, from kernel.pid_max and the tasks in
// /proc/loadavg.
func pidsLeft(limit, loadavg []byte) (level, bool) {
	total, err := strconv.ParseInt(string(bytes.TrimSpace(limit)), 10, 64)
	_, rest, ok := bytes.Cut(loadavg, []byte("/"))
	tasks, _, _ := bytes.Cut(rest, []byte(" "))
	n, errTasks := strconv.ParseInt(string(tasks), 10, 64)
	return level{total - n, total}, ok && err == nil && errTasks == nil && total > 0
}
