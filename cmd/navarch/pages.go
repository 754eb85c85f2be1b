package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startedAfter is how long after its start a process gives back what only
// starting needed.
const startedAfter = 5 * time.Second

// releaseStart unmaps the pages of the program's code and constants that the
// process has touched, once it has been up for a while: starting touches most
// of them, such as the tables of all kinds, for the first and last time. They
// stay in the page cache, where the processes of the program share them, and
// are mapped again as they are needed.
func releaseStart(ctx context.Context) {
	timer := time.AfterFunc(startedAfter, func() {
		_ = releaseProgram() // a process that cannot only looks larger
	})
	context.AfterFunc(ctx, func() { timer.Stop() })
}

func releaseProgram() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program's file: %w", err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read the process's mappings: %w", err)
	}
	for _, m := range constantMappings(smaps, program) {
		// By system call, as the memory is none of Go's.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("unmap the program's pages: %w", errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// constantMappings returns the parts of a process's memory that are its
// program's file and nothing else, from /proc/PID/smaps (proc_pid_smaps(5)): not
// what can be written, nor what has been, as by a dynamic linker.
func constantMappings(smaps []byte, program string) []mapping {
	var found []mapping
	var candidate mapping
	lines := bufio.NewScanner(bytes.NewReader(smaps))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 6 && strings.Contains(fields[0], "-"):
			candidate = mapping{}
			if fields[5] == program && strings.HasPrefix(fields[1], "r-") && strings.HasSuffix(fields[1], "p") {
				candidate = parseRange(fields[0])
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && candidate.end > candidate.start:
			found = append(found, candidate)
			candidate = mapping{}
		}
	}
	return found
}

func parseRange(s string) mapping {
	from, to, _ := strings.Cut(s, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil {
		return mapping{}
	}
	return mapping{uintptr(start), uintptr(end)}
}
