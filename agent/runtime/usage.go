package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage reads a cgroup. A file that is not there counts as zero, the cgroup
// itself has to be.
func (c *cgroups) usage(path string) (Usage, error) {
	if _, err := os.Stat(c.memoryDir(path)); errors.Is(err, fs.ErrNotExist) {
		return Usage{}, fmt.Errorf("cgroup %s: %w", path, ErrNotFound)
	}
	if c.unified != "" {
		return usageV2(filepath.Join(c.unified, path)), nil
	}
	return c.usageV1(path), nil
}

func (c *cgroups) usageV1(path string) Usage {
	memory := filepath.Join(c.controllers["memory"], path)
	stat, used := readKeys(filepath.Join(memory, "memory.stat")), readNumber(filepath.Join(memory, "memory.usage_in_bytes"))
	return Usage{
		Time:                  time.Now(),
		CPUNanoseconds:        readNumber(filepath.Join(c.controllers["cpuacct"], path, "cpuacct.usage")),
		MemoryBytes:           used,
		MemoryWorkingSetBytes: less(used, stat["total_inactive_file"]),
		MemoryRSSBytes:        stat["total_rss"],
		Pids:                  readNumber(filepath.Join(c.controllers["pids"], path, "pids.current")),
	}
}

func usageV2(dir string) Usage {
	stat, used := readKeys(filepath.Join(dir, "memory.stat")), readNumber(filepath.Join(dir, "memory.current"))
	return Usage{
		Time:                  time.Now(),
		CPUNanoseconds:        readKeys(filepath.Join(dir, "cpu.stat"))["usage_usec"] * 1000,
		MemoryBytes:           used,
		MemoryWorkingSetBytes: less(used, stat["inactive_file"]),
		MemoryRSSBytes:        stat["anon"],
		Pids:                  readNumber(filepath.Join(dir, "pids.current")),
		Pressure:              readPressure(dir, ".pressure"),
	}
}

func less(a, b uint64) uint64 { return a - min(a, b) }

func readNumber(path string) uint64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// readKeys reads a file of lines "key number".
func readKeys(path string) map[string]uint64 {
	keys := map[string]uint64{}
	data, err := os.ReadFile(path)
	if err != nil {
		return keys
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			keys[key], _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return keys
}
