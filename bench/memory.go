package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	memoryLimit = 250 // MiB
	// settleTime is how long a new cluster is left alone before it is called
	// idle; the samples are that far apart too.
	settleTime = 10 * time.Second
)

// measureMemory adds up what all processes of an idle cluster hold.
func measureMemory(ctx context.Context, b *bench) ([]line, error) {
	c, err := b.cluster(ctx)
	if err != nil {
		return nil, err
	}
	root, err := c.supervisor()
	if err != nil {
		return nil, err
	}
	var most memory
	for range b.rounds {
		select {
		case <-time.After(settleTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		m, err := treeMemory(root)
		if err != nil {
			return nil, err
		}
		if m.rss > most.rss {
			most = m
		}
	}
	return []line{{
		figure:    fmt.Sprintf("idle memory, %d processes", most.processes),
		measured:  fmt.Sprintf("%d MiB RSS", most.rss/1024),
		reference: fmt.Sprintf("%d MiB PSS, %d MiB anonymous", most.pss/1024, most.anonymous/1024),
		ratio:     "", target: fmt.Sprintf("≤ %d MiB RSS", memoryLimit), met: most.rss <= memoryLimit*1024,
	}}, nil
}

// memory is what processes hold, in KiB. In rss a page that several share
// counts for each, in pss it is divided among them.
type memory struct{ processes, rss, pss, anonymous int }

// treeMemory adds up a process and all that descend from it.
func treeMemory(root int) (memory, error) {
	var sum memory
	parents, err := parentsOfAll()
	if err != nil {
		return sum, err
	}
	for pid := range parents {
		if !descends(parents, pid, root) {
			continue
		}
		if err := sum.add(pid); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (m *memory) add(pid int) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	m.processes++
	fields := map[string]*int{"Rss:": &m.rss, "Pss:": &m.pss, "Anonymous:": &m.anonymous}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) < 2 || fields[words[0]] == nil {
			continue
		}
		n, err := strconv.Atoi(words[1])
		if err != nil {
			return fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		*fields[words[0]] += n
	}
	return nil
}

// parentsOfAll maps each process to its parent.
func parentsOfAll() (map[int]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	parents := make(map[int]int, len(stats))
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		// The program's name, in parentheses, may hold anything.
		after := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if parents[pid], err = strconv.Atoi(after[1]); err != nil {
			return nil, fmt.Errorf("read the parent of process %d: %w", pid, err)
		}
	}
	return parents, nil
}

func descends(parents map[int]int, pid, root int) bool {
	var seen []int
	for pid != 0 && !slices.Contains(seen, pid) {
		if pid == root {
			return true
		}
		seen = append(seen, pid)
		pid = parents[pid]
	}
	return false
}
