package registry

import "navarch.dev/navarch/internal/kinds"

// applier keeps metadata.managedFields: who set which field.
type applier struct{}

// track records what a write other than an apply changed.
func (applier) track(_ Write, _, _ kinds.Object) error { return nil }
