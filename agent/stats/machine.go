package stats

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"navarch.dev/navarch/agent/runtime"
)

// Machine reads what the whole machine uses: its pods, and everything else.
type Machine func() (runtime.Usage, error)

// tick is the unit of /proc/stat, in nanoseconds. Linux shows hundredths of a
// second to programs, whatever its own clock is.
const tick = 10_000_000

// ReadMachine reads the kernel's figures of this machine. It has no number of
// processes.
func ReadMachine() (runtime.Usage, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("read the machine's memory: %w", err)
	}
	cpu, err := busyTime(stat)
	if err != nil {
		return runtime.Usage{}, err
	}
	memory, err := usedMemory(meminfo)
	return runtime.Usage{CPUNanoseconds: cpu, MemoryWorkingSetBytes: memory, Pressure: runtime.ReadPressure()}, err
}

// busyTime returns how long the CPUs together have been busy. The line is
//
//	cpu  user nice system idle iowait irq softirq steal guest guest_nice
//
// where user and nice include the time of guests.
func busyTime(stat []byte) (uint64, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) < 5 || words[0] != "cpu" {
		return 0, fmt.Errorf("read the machine's CPU time: %q is not the sum of all CPUs", line)
	}
	var busy uint64
	for i, word := range words[1:min(len(words), 9)] {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the machine's CPU time: %w", err)
		}
		if idle, waiting := i == 3, i == 4; !idle && !waiting {
			busy += n
		}
	}
	return busy * tick, nil
}

// usedMemory returns how many bytes could not be had without swapping.
func usedMemory(meminfo []byte) (uint64, error) {
	kib := make(map[string]uint64)
	for lines := bufio.NewScanner(bytes.NewReader(meminfo)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		words := strings.Fields(value)
		if len(words) == 0 || (name != "MemTotal" && name != "MemAvailable") {
			continue
		}
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the machine's memory: %s: %w", name, err)
		}
		kib[name] = n
	}
	total, available := kib["MemTotal"], kib["MemAvailable"]
	if total == 0 || available > total {
		return 0, fmt.Errorf("read the machine's memory: %d KiB of %d are available", available, total)
	}
	return (total - available) << 10, nil
}
