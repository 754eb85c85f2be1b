package registry

import (
	"context"
	"sync"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
)

// caches are those of all stored kinds. Those of custom kinds come and go.
type caches struct {
	mu     sync.RWMutex // guards the fields below
	byKind map[*kinds.Kind]*followed
	// run follows a cache until stopped; nil before and after caches are run.
	run func(*followed)
}

// followed is a cache and how it is stopped.
type followed struct {
	*cache.Cache
	stop chan struct{}
}

// add takes a stored kind's cache in.
func (c *caches) add(kind *kinds.Kind, made *cache.Cache) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &followed{made, make(chan struct{})}
	c.byKind[kind] = f
	if c.run != nil {
		c.run(f)
	}
}

// remove ends the cache of a stored kind.
func (c *caches) remove(kind *kinds.Kind) {
	c.mu.Lock()
	f := c.byKind[kind]
	delete(c.byKind, kind)
	c.mu.Unlock()
	if f != nil {
		close(f.stop)
		f.Close()
	}
}

// get returns a stored kind's cache, nil if there is none (any longer).
func (c *caches) get(kind *kinds.Kind) *cache.Cache {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if f := c.byKind[kind]; f != nil {
		return f.Cache
	}
	return nil
}

// Run feeds the caches until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	defer r.workers.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	run := func(f *followed) {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				select {
				case <-f.stop:
					cancel()
				case <-ctx.Done():
				}
			}()
			f.Run(ctx)
		})
	}
	r.caches.mu.Lock()
	for _, f := range r.caches.byKind {
		run(f)
	}
	r.caches.run = run
	r.caches.mu.Unlock()
	<-ctx.Done()
	r.caches.mu.Lock()
	r.caches.run = nil
	r.caches.mu.Unlock()
}

// Caches returns every cache.
func (r *Registry) Caches() []*cache.Cache {
	r.caches.mu.RLock()
	defer r.caches.mu.RUnlock()
	out := make([]*cache.Cache, 0, len(r.caches.byKind))
	for _, f := range r.caches.byKind {
		out = append(out, f.Cache)
	}
	return out
}

// Cache returns the cache that holds a kind's objects. That of a custom kind
// which is gone is empty and closed.
func (r *Registry) Cache(kind *kinds.Kind) *cache.Cache {
	stored := r.stored(kind)
	if c := r.caches.get(stored); c != nil {
		return c
	}
	c := r.newCache(stored)
	c.Close()
	return c
}

func (r *Registry) newCache(stored *kinds.Kind) *cache.Cache {
	return cache.New(stored, resourcePrefix(stored), r.Backend, r.clock, r.budget, r.Log)
}

// SetCustom replaces the custom kinds. Objects of a kind that stays, in whichever
// versions, stay in memory.
func (r *Registry) SetCustom(custom []*kinds.Kind) {
	wanted := make(map[*kinds.Kind]bool)
	for _, k := range custom {
		stored := r.stored(k)
		if !wanted[stored] && r.caches.get(stored) == nil {
			r.caches.add(stored, r.newCache(stored))
		}
		wanted[stored] = true
	}
	r.Kinds.SetCustom(custom)
	r.caches.mu.RLock()
	var gone []*kinds.Kind
	for stored := range r.caches.byKind {
		if stored.Custom != nil && !wanted[stored] {
			gone = append(gone, stored)
		}
	}
	r.caches.mu.RUnlock()
	for _, stored := range gone {
		r.caches.remove(stored)
	}
}
