package admission

import (
	"context"

	"navarch.dev/navarch/services/store/access"
)

// Guarded is the rule that a Guard makes of what writes contain.
func Guarded(g access.Guard) Plugin { return guarded{guard: g} }

type guarded struct {
	noValidation
	guard access.Guard
}

func (p guarded) Mutate(ctx context.Context, r *Request) error {
	if r.Operation == Delete {
		return nil
	}
	return p.guard.CheckWrite(ctx, access.Write{
		User: r.User, Kind: r.Kind, Namespace: r.Namespace, Subresource: r.Subresource, Object: r.Object, Old: r.Old,
	})
}
