package customresource

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
)

// Follower keeps a Store's custom kinds what the definitions say.
type Follower struct {
	// Definitions is the cache of the definitions, Prefix what their keys begin
	// with.
	Definitions *cache.Cache
	Prefix      string
	// Set takes the kinds over.
	Set   func([]*kinds.Kind)
	Hooks Converter
	Log   *slog.Logger

	mu sync.Mutex // guards the fields below
	// seen is the last change of the definitions that has been looked at.
	seen int64
	made map[string]*made
}

// made is what came of a definition.
type made struct {
	uid     types.UID
	version string // of what the kinds were made of
	stored  *kinds.Kind
	kinds   []*kinds.Kind
}

// Run follows the definitions until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.Definitions.Reach(ctx, 0); err != nil {
			return
		}
		_, watcher := f.Definitions.WatchPresent(cache.Part{})
		f.follow(ctx, watcher)
		watcher.Stop()
	}
}

// follow looks at the definitions after each of their changes until the watch
// ends.
func (f *Follower) follow(ctx context.Context, watcher *cache.Watcher) {
	for {
		_, _, err := watcher.Next(1 << 10)
		if err != nil {
			return
		}
		if err := f.look(ctx); err != nil {
			return
		}
		select {
		case <-watcher.Woken():
		case <-ctx.Done():
			return
		}
	}
}

// Refresh returns once all definitions that were written before the call have
// been looked at, whichever Store wrote them.
func (f *Follower) Refresh(ctx context.Context) error {
	if err := f.Definitions.Fresh(ctx); err != nil {
		return fmt.Errorf("read the custom resource definitions: %w", err)
	}
	return f.look(ctx)
}

// Settle is Refresh for definitions that were written through this Store. It
// costs next to nothing where nothing was.
func (f *Follower) Settle(ctx context.Context) error {
	if err := f.Definitions.Settled(ctx); err != nil {
		return fmt.Errorf("read the custom resource definitions: %w", err)
	}
	return f.look(ctx)
}

// look makes the kinds of what definitions there are.
func (f *Follower) look(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	change := f.Definitions.LastChange()
	if f.made != nil && change == f.seen {
		return nil
	}
	present := make(map[string]*made)
	err := f.Definitions.Snapshot().Ascend(ctx, f.Prefix, "", func(v *cache.Version) bool {
		if d, ok := v.Object().(*kinds.Definition); ok {
			present[d.Name] = f.make(ctx, d)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read the custom resource definitions: %w", err)
	}
	changed := len(present) != len(f.made)
	for name, m := range present {
		changed = changed || f.made[name] != m
	}
	f.made, f.seen = present, change
	if changed {
		f.Set(inOrder(present))
	}
	return nil
}

// make returns what comes of a definition: what came of it before, if it has
// not changed since.
func (f *Follower) make(ctx context.Context, d *kinds.Definition) *made {
	before := f.made[d.Name]
	m := &made{uid: d.UID, version: kinds.DefinitionKey(d)}
	switch {
	case before == nil || before.uid != d.UID || before.stored.Namespaced != (d.Spec.Scope == "Namespaced"):
		m.stored = Stored(d)
	case before.version == m.version:
		return before
	default:
		m.stored = before.stored
	}
	var err error
	if m.kinds, err = Kinds(d, m.stored, f.Hooks); err != nil {
		f.Log.ErrorContext(ctx, "the objects of a custom resource definition cannot be served", "name", d.Name, "error", err)
	}
	return m
}

// inOrder returns all kinds ordered by their groups, then as their versions are
// preferred, then by their names.
func inOrder(present map[string]*made) []*kinds.Kind {
	var all []*kinds.Kind
	for _, m := range present {
		all = append(all, m.kinds...)
	}
	slices.SortFunc(all, kinds.CompareCustom)
	return all
}
