package admission

import (
	"slices"
	"sync"
)

// Warnings collects what a user should be told about a write, whether it
// succeeds or not. A write may be admitted several times before it is stored, so
// that what is said again is kept once. A nil *Warnings takes nothing.
type Warnings struct {
	mu   sync.Mutex // guards said
	said []string
}

// Add adds warnings.
func (w *Warnings) Add(warnings ...string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, warning := range warnings {
		if !slices.Contains(w.said, warning) {
			w.said = append(w.said, warning)
		}
	}
}

// All returns the warnings in the order in which they came.
func (w *Warnings) All() []string {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.said)
}
