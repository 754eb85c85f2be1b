package main

import (
	"context"
	"fmt"
	"time"
)

// memoryTarget is how many times less memory than the reference.
const memoryTarget = 3

// settleTime is how long a server is left alone before its memory is read.
const settleTime = 20 * time.Second

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
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		if err := wait(ctx, settleTime/2); err != nil {
			return err
		}
		mib, err := t.memory()
		held.add(t, mib)
		return err
	})
	return held.less(figure, mebibytes, memoryTarget), err
}
