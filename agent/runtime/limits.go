package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// oci converts a container's limits. Swap is limited to none if the kernel can,
// and so are huge pages, which pods cannot ask for.
func (c *cgroups) oci(r Resources) *specs.LinuxResources {
	resources := &specs.LinuxResources{CPU: r.ociCPU()}
	if r.MemoryLimit > 0 {
		resources.Memory = &specs.LinuxMemory{Limit: &r.MemoryLimit}
		if c.swap && c.unified == "" {
			resources.Memory.Swap = &r.MemoryLimit
		}
	}
	if r.PidsLimit > 0 {
		resources.Pids = &specs.LinuxPids{Limit: &r.PidsLimit}
	}
	for _, size := range c.hugePages {
		resources.HugepageLimits = append(resources.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size})
	}
	if c.unified != "" {
		// A container that lost one of its processes would go on, but seldom well.
		resources.Unified = map[string]string{"memory.oom.group": "1"}
		if c.swap {
			resources.Unified["memory.swap.max"] = "0"
		}
	}
	return resources
}

func (r Resources) ociCPU() *specs.LinuxCPU {
	if r.CPUShares == 0 && r.CPUQuota <= 0 && r.CPUSet == "" {
		return nil
	}
	cpu := &specs.LinuxCPU{Cpus: r.CPUSet}
	if r.CPUShares > 0 {
		cpu.Shares = &r.CPUShares
	}
	if r.CPUQuota > 0 {
		period := r.Period()
		cpu.Quota, cpu.Period = &r.CPUQuota, &period
	}
	return cpu
}

// hugePages returns the sizes of huge pages that this kernel has, in the words of
// cgroups, if a file of controllers has the one that limits them.
func hugePages(controllers string) []string {
	if !slices.Contains(strings.Fields(string(readFile(controllers))), "hugetlb") {
		return nil
	}
	entries, _ := os.ReadDir("/sys/kernel/mm/hugepages")
	var sizes []string
	for _, entry := range entries {
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(entry.Name(), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		switch {
		case kib >= 1<<20:
			sizes = append(sizes, fmt.Sprintf("%dGB", kib>>20))
		case kib >= 1<<10:
			sizes = append(sizes, fmt.Sprintf("%dMB", kib>>10))
		default:
			sizes = append(sizes, fmt.Sprintf("%dKB", kib))
		}
	}
	return sizes
}
