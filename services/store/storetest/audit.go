package storetest

import (
	"context"
	"maps"
	"sync"
	"testing"

	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
)

// Audited returns a client and a context in which its calls are audited, as
// those of a gateway are, and what returns their annotations so far and forgets
// them.
func (s *Store) Audited(tb testing.TB) (*client.Client, context.Context, func() map[string]string) {
	var mu sync.Mutex // guards noted
	noted := make(map[string]string)
	ctx := audittrail.NewContext(tb.Context(), func(t audittrail.Trail) {
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(noted, t.Annotations)
	})
	return s.Client(identity.Service(identity.Gateway)), audittrail.Ask(ctx), func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		out := noted
		noted = make(map[string]string)
		delete(out, audittrail.Decision)
		delete(out, audittrail.Reason)
		return out
	}
}
