package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// spent is processor time: of the control plane's programs, and of etcd.
type spent struct{ server, etcd time.Duration }

func (s spent) minus(o spent) spent { return spent{s.server - o.server, s.etcd - o.etcd} }

func (s spent) each(units int) spent {
	return spent{s.server / time.Duration(units), s.etcd / time.Duration(units)}
}

func (s spent) String() string {
	if s.etcd < s.server/100 {
		return short(s.server)
	}
	return short(s.server) + " + etcd " + short(s.etcd)
}

// medianSpent is the round whose programs took the median time.
func medianSpent(all []spent) spent {
	if len(all) == 0 {
		return spent{}
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b spent) int { return int(a.server - b.server) })
	return sorted[len(sorted)/2]
}

// processorTime is what a side's processes have used so far.
func (s *server) processorTime() (spent, error) {
	var sum spent
	for _, c := range s.processes {
		used, err := processorTime(c)
		if err != nil {
			return spent{}, err
		}
		sum.server += used
	}
	var err error
	sum.etcd, err = processorTime(s.etcd)
	return sum, err
}

// processorTime reads a process's clock of processor time, which is exact,
// other than the ticks in /proc.
func processorTime(c *exec.Cmd) (time.Duration, error) {
	const ofProcess = 2 // see CPUCLOCK_SCHED in the kernel's posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^c.Process.Pid)<<3|ofProcess, &t); err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", c.Path, err)
	}
	return time.Duration(t.Nano()), nil
}

// spend does some work and returns how long it took, and of the side's
// processors.
func (t turn) spend(work func() error) (time.Duration, spent, error) {
	before, err := t.processorTime()
	if err != nil {
		return 0, spent{}, err
	}
	started := time.Now()
	if err := work(); err != nil {
		return 0, spent{}, err
	}
	took := time.Since(started)
	after, err := t.processorTime()
	return took, after.minus(before), err
}

const (
	calmWithin = 2 * time.Minute
	calmPeriod = 500 * time.Millisecond
	// calmUse is how much all processes may use in such a period.
	calmUse = 50 * time.Millisecond
)

// calm waits until what earlier work has left for the servers to do is done, so
// that nobody's takes time from another's turn.
func (p *peers) calm(ctx context.Context) error {
	deadline := time.Now().Add(calmWithin)
	var last time.Duration
	for first := true; time.Now().Before(deadline); first = false {
		var sum time.Duration
		for _, s := range p.both(0) {
			used, err := s.processorTime()
			if err != nil {
				return err
			}
			sum += used.server + used.etcd
		}
		if !first && sum-last < calmUse {
			return nil
		}
		last = sum
		if err := wait(ctx, calmPeriod); err != nil {
			return err
		}
	}
	return nil // they are as busy as they are
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// memory is the resident sets of a side's programs without etcd, in MiB.
func (s *server) memory() (float64, error) {
	var sum float64
	for _, c := range s.processes {
		mib, err := memory(c)
		if err != nil {
			return 0, err
		}
		sum += mib
	}
	return sum, nil
}

func memory(c *exec.Cmd) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", c.Path, err)
	}
	for l := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(text)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("the memory of %s is not told", c.Path)
}
