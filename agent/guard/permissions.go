package guard

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/cache"

	"navarch.dev/navarch/internal/identity"
)

const (
	// allowedTime and deniedTime are how long the Store's answers are remembered.
	allowedTime = 5 * time.Minute
	deniedTime  = 30 * time.Second
)

// permissions knows who may do what.
type permissions struct {
	reviews patient
	known   *cache.LRUExpireCache // bool by hash
}

func newPermissions(reviews patient) *permissions {
	return &permissions{reviews: reviews, known: cache.NewLRUExpireCache(maxRemembered)}
}

// allowed says whether a user may do something.
func (p *permissions) allowed(ctx context.Context, user identity.Identity, what *authorizationv1.ResourceAttributes) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{User: user.Name, UID: user.UID, Groups: user.Groups, ResourceAttributes: what}
	for key, values := range user.Extra {
		if spec.Extra == nil {
			spec.Extra = make(map[string]authorizationv1.ExtraValue, len(user.Extra))
		}
		spec.Extra[key] = values
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("write down what a user asks for: %w", err)
	}
	hash := sha256.Sum256(text)
	if known, ok := p.known.Get(hash); ok {
		return known.(bool), nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: spec}
	if err := p.reviews.ask(ctx, review); err != nil {
		return false, fmt.Errorf("review what a user may do: %w", err)
	}
	allowed := review.Status.Allowed && !review.Status.Denied
	remembered := deniedTime
	if allowed {
		remembered = allowedTime
	}
	p.known.Add(hash, allowed, remembered)
	return allowed, nil
}
