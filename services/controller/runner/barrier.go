package runner

import (
	"sync"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Barrier holds a key back until an informer shows what the key's reconciles
// have created. Reconcilers need it where they create objects with generated
// names and would, on an old view, create them again.
type Barrier[T kinds.Object] struct {
	informer *client.Informer[T]

	mu       sync.Mutex
	versions map[string]string // by key, the version of the last creation
}

// NewBarrier returns a barrier that no key has to wait at.
func NewBarrier[T kinds.Object](informer *client.Informer[T]) *Barrier[T] {
	return &Barrier[T]{informer: informer, versions: make(map[string]string)}
}

// Wrote notes that a reconcile of the key wrote obj, as the Store answered it.
func (b *Barrier[T]) Wrote(key string, obj T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.versions[key] = obj.GetResourceVersion()
}

// Passed says whether the informer has reached the key's last write.
func (b *Barrier[T]) Passed(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	version, ok := b.versions[key]
	if ok && !b.informer.HasReached(version) {
		return false
	}
	delete(b.versions, key)
	return true
}
