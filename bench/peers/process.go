package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memoryTarget is how many times less memory than the reference.
const memoryTarget = 3

// settleTime is how long a server is left alone before its memory is read.
const settleTime = 20 * time.Second

// processorTime is what a server has used so far.
func (s *server) processorTime() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", s.name, err)
	}
	// The program's name, in parentheses, may hold anything. After it, user and
	// system time are the 12th and 13th words, in hundredths of a second.
	const user, system, tick = 11, 12, 10 * time.Millisecond
	words := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var sum time.Duration
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", s.name, err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// memory is a server's resident set, in MiB.
func (s *server) memory() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", s.name, err)
	}
	for l := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(text)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("the memory of %s is not told", s.name)
}

func measureIdle(ctx context.Context, p *peers) ([]line, error) {
	l, err := p.compareMemory(ctx, "memory, idle")
	return []line{l}, err
}

// measureHeld compares the memory of servers that hold many pods.
func measureHeld(ctx context.Context, p *peers) ([]line, error) {
	for _, s := range p.both(0) {
		if err := s.createPods(ctx, heldNamespace, p.scale.held); err != nil {
			return nil, fmt.Errorf("create pods at %s: %w", s.name, err)
		}
	}
	l, err := p.compareMemory(ctx, fmt.Sprintf("memory, holding %d pods", p.scale.held))
	return []line{l}, err
}

func (p *peers) compareMemory(ctx context.Context, figure string) (line, error) {
	var held pair
	for range p.rounds {
		select {
		case <-ctx.Done():
			return line{}, ctx.Err()
		case <-time.After(settleTime):
		}
		for _, s := range p.both(0) {
			mib, err := s.memory()
			if err != nil {
				return line{}, err
			}
			held.add(p, s, mib)
		}
	}
	return held.less(figure, mebibytes, memoryTarget), nil
}
