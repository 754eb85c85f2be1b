package node

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/eviction"
	"navarch.dev/navarch/internal/version"
)

// readMachine describes the machine that this process runs on.
func readMachine(cfg Config) (Machine, error) {
	var m Machine
	memory, err := totalMemory()
	if err != nil {
		return m, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.DiskPath, &fs); err != nil {
		return m, fmt.Errorf("measure the filesystem of %s: %w", cfg.DiskPath, err)
	}
	share := cfg.CapacityShare
	disk := float64(fs.Blocks) * float64(fs.Bsize)
	m.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(int64(share*1000*float64(goruntime.NumCPU())), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(int64(share*float64(memory)), resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(share*disk), resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(cfg.MaxPods, resource.DecimalSI),
	}
	m.Allocatable = m.Capacity.DeepCopy()
	m.Info, err = systemInfo(cfg)
	return m, err
}

func totalMemory() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("measure the memory: %w", err)
	}
	v, ok := meminfo(b, "MemTotal")
	if !ok {
		return 0, fmt.Errorf("measure the memory: /proc/meminfo has no MemTotal")
	}
	return v, nil
}

// meminfo returns a field of /proc/meminfo in bytes.
func meminfo(b []byte, field string) (int64, bool) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 && words[0] == field+":" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

func systemInfo(cfg Config) (corev1.NodeSystemInfo, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return corev1.NodeSystemInfo{}, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	return corev1.NodeSystemInfo{
		MachineID: machineID(cfg), SystemUUID: firstLine("/sys/class/dmi/id/product_uuid"),
		BootID:        firstLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion: unix.ByteSliceToString(u.Release[:]), OSImage: osImage(),
		ContainerRuntimeVersion: cfg.RuntimeVersion, KubeletVersion: version.Server,
		OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}, nil
}

// machineID returns the machine's ID; nodes that share a machine have one each.
func machineID(cfg Config) string {
	id := firstLine("/etc/machine-id")
	if id != "" && !cfg.SharesMachine {
		return id
	}
	sum := sha256.Sum256([]byte(id + "/" + cfg.StateDir + "/" + cfg.Name))
	return hex.EncodeToString(sum[:16])
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

func osImage() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

// readPressure looks at what is left of the node. What cannot be read is not
// short.
func readPressure(cfg Config) pressure {
	var p pressure
	for _, s := range cfg.Limits.Short(cfg.DiskPath, nil) {
		switch s.Signal {
		case eviction.Memory:
			p.memory = true
		case eviction.PIDs:
			p.pids = true
		default:
			p.disk = true
		}
	}
	return p
}
