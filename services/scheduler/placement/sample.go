package placement

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	// parallelFrom is the number of nodes from which on goroutines pay.
	parallelFrom = 512
	// chunk is how many nodes a goroutine takes at a time.
	chunk = 64
)

// filterSample looks at nodes, beginning where the last look ended, until
// enough are feasible or all have been seen.
func (p *Placer) filterSample(ctx context.Context, a *attempt) error {
	nodes := p.nodes.Nodes()
	start, wanted := p.next%len(nodes), p.wanted(a.profile)
	var feasible, seen atomic.Int64
	var failed firstError
	p.parallel(len(nodes), func(from, to int) bool {
		for n := from; n < to && feasible.Load() < int64(wanted); n++ {
			i := (start + n) % len(nodes)
			s, err := p.filter(ctx, a, i)
			if err != nil {
				failed.set(err)
				return false
			}
			seen.Add(1)
			if s.Success() {
				feasible.Add(1)
			}
		}
		return feasible.Load() < int64(wanted)
	})
	p.table.collect()
	p.next = (start + int(seen.Load())) % len(nodes)
	return failed.err
}

// firstError keeps the first of the errors of several goroutines, until they have
// ended.
type firstError struct {
	once sync.Once
	err  error
}

func (f *firstError) set(err error) { f.once.Do(func() { f.err = err }) }

// parallel calls work for ranges that cover 0 … n-1, from several goroutines if
// n is large, until one call returns false.
func (p *Placer) parallel(n int, work func(from, to int) bool) {
	if n < parallelFrom || p.config.Parallelism < 2 {
		work(0, n)
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range p.config.Parallelism {
		group.Go(func() {
			for {
				to := int(next.Add(chunk))
				if from := to - chunk; from >= n || !work(from, min(to, n)) {
					return
				}
			}
		})
	}
	group.Wait()
}
