package token

import (
	"context"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// Own lets tokens that say nothing of audiences be good for the cluster's own
// and no others. That is also what no audience means.
type Own struct {
	access.Authenticator
	Audiences []string
}

// AuthenticateToken implements access.Authenticator.
func (o Own) AuthenticateToken(ctx context.Context, token string, audiences []string) (identity.Identity, bool, error) {
	if len(audiences) > 0 && !shareOne(o.Audiences, audiences) {
		return identity.Identity{}, false, nil
	}
	return o.Authenticator.AuthenticateToken(ctx, token, audiences)
}
