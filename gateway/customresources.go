package gateway

import (
	"context"
	"net/http"
	"time"

	"navarch.dev/navarch/gateway/caller"
)

// refreshTimeout is how long a request for an unknown path waits to learn
// whether it has just been defined.
const refreshTimeout = 5 * time.Second

// refresh makes sure that custom kinds are known which were defined before the
// request was made: their definition may have been seen through another gateway
// or Store. Anonymous callers cause no work.
func (g *Gateway) refresh(r *http.Request) {
	if who, err := caller.Of(r); err != nil || who.Anonymous() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), refreshTimeout)
	defer cancel()
	if err := g.custom.Refresh(ctx); err != nil {
		g.tel.Log.DebugContext(ctx, "custom resource definitions could not be read", "error", err)
	}
}
