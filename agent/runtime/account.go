package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Account is all that the kernel counts of a cgroup. What it does not count is 0.
type Account struct {
	Usage
	// Cgroup is the cgroup's path, with a leading slash.
	Cgroup string
	// CPUUserNanoseconds and CPUSystemNanoseconds are CPUNanoseconds by mode, as
	// exactly as the kernel tells them.
	CPUUserNanoseconds, CPUSystemNanoseconds uint64
	// Periods counts the periods of CPUQuota in which the cgroup ran,
	// ThrottledPeriods those in which it was held back, ThrottledNanoseconds for how
	// long.
	Periods, ThrottledPeriods, ThrottledNanoseconds uint64
	// MemoryCacheBytes is file cache, of which MemoryMappedBytes are mapped.
	MemoryCacheBytes, MemoryMappedBytes, MemorySwapBytes uint64
	// MemoryMaxBytes is the most that MemoryBytes has been, MemoryFailures how often
	// it met the limit.
	MemoryMaxBytes, MemoryFailures uint64
	PageFaults, MajorPageFaults    uint64
	OOMKills                       uint64
	// Processes counts processes, where Pids counts their threads.
	Processes uint64
	Disks     []DiskAccount
}

// DiskAccount is what a cgroup has read and written of a block device. In
// version 1 what is written through the cache counts as the kernel's.
type DiskAccount struct {
	// Device is its path, or its numbers ("8:0") if the machine does not say.
	Device                               string
	ReadBytes, WriteBytes, Reads, Writes uint64
}

// InterfaceAccount is what came in and went out by a network interface.
type InterfaceAccount struct {
	Name                                                          string
	ReceiveBytes, ReceivePackets, ReceiveErrors, ReceiveDrops     uint64
	TransmitBytes, TransmitPackets, TransmitErrors, TransmitDrops uint64
}

// ContainerAccount is that of a running container.
type ContainerAccount struct {
	Account
	Status ContainerStatus
}

// PodAccount is that of a pod's cgroup, network and running containers.
type PodAccount struct {
	Account
	Sandbox SandboxStatus
	// Interfaces are those of the pod's own network, without the loopback; none if
	// it has the node's.
	Interfaces []InterfaceAccount
	Containers []ContainerAccount
}

// Accounts reads those of all pods that run. What ends meanwhile is left out.
func (r *Runc) Accounts(ctx context.Context) ([]PodAccount, error) {
	sandboxes, err := r.ListSandboxes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the sandboxes: %w", err)
	}
	all := make([]PodAccount, 0, len(sandboxes))
	for _, s := range sandboxes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !s.Ready {
			continue
		}
		pod, err := r.account(ctx, s)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the account of pod %s/%s: %w", s.Spec.Namespace, s.Spec.Name, err)
		}
		all = append(all, pod)
	}
	return all, nil
}

func (r *Runc) account(ctx context.Context, s SandboxStatus) (PodAccount, error) {
	pod := PodAccount{Sandbox: s}
	var err error
	if pod.Account, err = r.cgroups.account(r.podCgroup(s.Spec.UID)); err != nil {
		return pod, err
	}
	if !s.Spec.HostNetwork {
		// A pause process that has just ended has no network any more.
		pod.Interfaces, _ = ReadInterfaces(s.PausePid)
	}
	containers, err := r.ListContainers(ctx, s.Spec.UID)
	if err != nil {
		return pod, err
	}
	for _, c := range containers {
		if c.State != StateRunning {
			continue
		}
		a, err := r.cgroups.account(r.containerCgroup(s.Spec.UID, c.Spec.ID))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return pod, err
		}
		pod.Containers = append(pod.Containers, ContainerAccount{Account: a, Status: c})
	}
	return pod, nil
}

// account reads a cgroup in full. A file that is not there counts as zero, the
// cgroup itself has to be.
func (c *cgroups) account(path string) (Account, error) {
	usage, err := c.usage(path)
	if err != nil {
		return Account{}, err
	}
	var a Account
	if c.unified != "" {
		a = accountV2(filepath.Join(c.unified, path))
	} else {
		a = c.accountV1(path)
	}
	a.Usage, a.Cgroup = usage, "/"+strings.TrimPrefix(path, "/")
	return a, nil
}

func (c *cgroups) accountV1(path string) Account {
	file := func(controller, name string) string { return filepath.Join(c.controllers[controller], path, name) }
	cpu, modes := readKeys(file("cpu", "cpu.stat")), readKeys(file("cpuacct", "cpuacct.stat"))
	memory := readKeys(file("memory", "memory.stat"))
	a := Account{
		CPUUserNanoseconds: modes["user"] * userTick, CPUSystemNanoseconds: modes["system"] * userTick,
		Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"], ThrottledNanoseconds: cpu["throttled_time"],
		MemoryCacheBytes: memory["total_cache"], MemoryMappedBytes: memory["total_mapped_file"], MemorySwapBytes: memory["total_swap"],
		MemoryMaxBytes: readNumber(file("memory", "memory.max_usage_in_bytes")), MemoryFailures: readNumber(file("memory", "memory.failcnt")),
		PageFaults: memory["total_pgfault"], MajorPageFaults: memory["total_pgmajfault"],
		OOMKills:  readKeys(file("memory", "memory.oom_control"))["oom_kill"],
		Processes: countLines(file("memory", "cgroup.procs")),
	}
	if c.controllers["blkio"] != "" {
		disks := disksV1(readFile(file("blkio", "blkio.throttle.io_service_bytes_recursive")), readFile(file("blkio", "blkio.throttle.io_serviced_recursive")))
		a.Disks = named(disks)
	}
	return a
}

// userTick is the unit of cpuacct.stat, in nanoseconds.
const userTick = 10_000_000

func accountV2(dir string) Account {
	file := func(name string) string { return filepath.Join(dir, name) }
	cpu, memory, events := readKeys(file("cpu.stat")), readKeys(file("memory.stat")), readKeys(file("memory.events"))
	return Account{
		CPUUserNanoseconds: cpu["user_usec"] * 1000, CPUSystemNanoseconds: cpu["system_usec"] * 1000,
		Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"], ThrottledNanoseconds: cpu["throttled_usec"] * 1000,
		MemoryCacheBytes: memory["file"], MemoryMappedBytes: memory["file_mapped"], MemorySwapBytes: readNumber(file("memory.swap.current")),
		MemoryMaxBytes: readNumber(file("memory.peak")), MemoryFailures: events["max"],
		PageFaults: memory["pgfault"], MajorPageFaults: memory["pgmajfault"], OOMKills: events["oom_kill"],
		Processes: countLines(file("cgroup.procs")), Disks: named(disksV2(readFile(file("io.stat")))),
	}
}

// disksV1 reads lines "major:minor Read number" of the bytes, and of how often.
func disksV1(size, count []byte) map[string]DiskAccount {
	disks := map[string]DiskAccount{}
	read := func(text []byte, into func(d *DiskAccount) (reads, writes *uint64)) {
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) != 3 {
				continue // the sum of all
			}
			n, err := strconv.ParseUint(words[2], 10, 64)
			if err != nil {
				continue
			}
			d := disks[words[0]]
			reads, writes := into(&d)
			switch words[1] {
			case "Read":
				*reads = n
			case "Write":
				*writes = n
			}
			disks[words[0]] = d
		}
	}
	read(size, func(d *DiskAccount) (reads, writes *uint64) { return &d.ReadBytes, &d.WriteBytes })
	read(count, func(d *DiskAccount) (reads, writes *uint64) { return &d.Reads, &d.Writes })
	return disks
}

// disksV2 reads lines "major:minor rbytes=n wbytes=n rios=n wios=n …".
func disksV2(text []byte) map[string]DiskAccount {
	disks := map[string]DiskAccount{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		var d DiskAccount
		into := map[string]*uint64{"rbytes": &d.ReadBytes, "wbytes": &d.WriteBytes, "rios": &d.Reads, "wios": &d.Writes}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			if n, err := strconv.ParseUint(value, 10, 64); err == nil && into[key] != nil {
				*into[key] = n
			}
		}
		disks[words[0]] = d
	}
	return disks
}

// named returns disks by what the machine calls them, in order.
func named(disks map[string]DiskAccount) []DiskAccount {
	all := make([]DiskAccount, 0, len(disks))
	for numbers, d := range disks {
		d.Device = numbers
		if target, err := os.Readlink("/sys/dev/block/" + numbers); err == nil {
			d.Device = "/dev/" + filepath.Base(target)
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b DiskAccount) int { return strings.Compare(a.Device, b.Device) })
	return all
}

// ReadInterfaces reads what the network interfaces that a process sees have
// counted, without the loopback.
func ReadInterfaces(pid int) ([]InterfaceAccount, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil, fmt.Errorf("read the network's counters: %w", err)
	}
	return parseInterfaces(text), nil
}

// parseInterfaces reads lines "name: " with eight numbers about what came in and
// eight about what went out, of which the first four are bytes, packets, errors
// and drops.
func parseInterfaces(text []byte) []InterfaceAccount {
	var all []InterfaceAccount
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(line, ":")
		words := strings.Fields(rest)
		name = strings.TrimSpace(name)
		if !ok || len(words) < 16 || name == "lo" {
			continue
		}
		n := make([]uint64, len(words))
		for i, word := range words {
			n[i], _ = strconv.ParseUint(word, 10, 64)
		}
		all = append(all, InterfaceAccount{
			Name: name, ReceiveBytes: n[0], ReceivePackets: n[1], ReceiveErrors: n[2], ReceiveDrops: n[3],
			TransmitBytes: n[8], TransmitPackets: n[9], TransmitErrors: n[10], TransmitDrops: n[11],
		})
	}
	return all
}

// readFile returns what is in a file, nothing if it is not there.
func readFile(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return text
}

func countLines(path string) uint64 { return uint64(bytes.Count(readFile(path), []byte("\n"))) }

// CgroupVersion is 1 or 2.
func (r *Runc) CgroupVersion() int {
	if r.cgroups.unified != "" {
		return 2
	}
	return 1
}

// AccountOfNode reads the cgroup above all pods of this node.
func (r *Runc) AccountOfNode(context.Context) (Account, error) {
	return r.cgroups.account(r.cfg.CgroupParent)
}
