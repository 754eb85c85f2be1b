package guard

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/cache"

	"navarch.dev/navarch/internal/identity"
)

// tokenTime is how long it is remembered whose a token is.
const tokenTime = 2 * time.Minute

// tokens knows whose tokens are.
type tokens struct {
	reviews patient
	// secret keeps what is remembered from being the tokens themselves.
	secret []byte
	known  *cache.LRUExpireCache // verdict by hash
	asking singleflight.Group
}

// verdict is what the Store has said of a token.
type verdict struct {
	user  identity.Identity
	valid bool
}

func newTokens(reviews patient) *tokens {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return &tokens{reviews: reviews, secret: secret, known: cache.NewLRUExpireCache(maxRemembered)}
}

// user returns whose a token is, false if it is nobody's.
func (t *tokens) user(ctx context.Context, token string) (identity.Identity, bool, error) {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte(token))
	hash := string(mac.Sum(nil))
	if known, ok := t.known.Get(hash); ok {
		v := known.(verdict)
		return v.user, v.valid, nil
	}
	select {
	case r := <-t.asking.DoChan(hash, func() (any, error) { return t.review(ctx, hash, token) }):
		if r.Err != nil {
			return identity.Identity{}, false, r.Err
		}
		v := r.Val.(verdict)
		return v.user, v.valid, nil
	case <-ctx.Done():
		return identity.Identity{}, false, ctx.Err()
	}
}

// review asks the Store about a token, and remembers what it says.
func (t *tokens) review(ctx context.Context, hash, token string) (verdict, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := t.reviews.ask(ctx, review); err != nil {
		return verdict{}, fmt.Errorf("review a token: %w", err)
	}
	if !review.Status.Authenticated && review.Status.Error != "" {
		return verdict{}, fmt.Errorf("review a token: %w", errors.New(review.Status.Error))
	}
	v := verdict{valid: review.Status.Authenticated}
	if v.valid {
		info := review.Status.User
		v.user = identity.Identity{Name: info.Username, UID: info.UID, Groups: info.Groups, Extra: make(map[string][]string, len(info.Extra))}
		for key, values := range info.Extra {
			v.user.Extra[key] = values
		}
		if !v.user.InGroup(identity.GroupAuthenticated) {
			v.user.Groups = append(v.user.Groups, identity.GroupAuthenticated)
		}
	}
	t.known.Add(hash, v, tokenTime)
	return v, nil
}
