package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	// tokenKept is how long it is known whose a token is. It only names the user
	// of an event: the Store judges the token of every request itself.
	tokenKept = 10 * time.Second
	maxTokens = 4096
)

// users finds out who makes requests, so that rules about users can be applied
// before anything is done about a request. Certificates say it; for tokens the
// Store is asked.
type users struct {
	store  storev1.StoreServiceClient
	tokens *cache.LRUExpireCache // of identities by the tokens' hashes
}

func newUsers(store storev1.StoreServiceClient) *users {
	return &users{store: store, tokens: cache.NewLRUExpireCache(maxTokens)}
}

// of returns whose a request is; false if its credentials are good for nobody.
func (u *users) of(ctx context.Context, who caller.Caller) (identity.Identity, bool, error) {
	if who.Token == "" {
		return who.Identity, true, nil
	}
	key := sha256.Sum256([]byte(who.Token))
	if known, ok := u.tokens.Get(key); ok {
		return known.(identity.Identity), true, nil
	}
	id, ok, err := u.review(ctx, who.Token)
	if ok {
		u.tokens.Add(key, id, tokenKept)
	}
	return id, ok, err
}

func (u *users) review(ctx context.Context, token string) (identity.Identity, bool, error) {
	review := &authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token},
	}
	body, err := kinds.Encode(review)
	if err != nil {
		return identity.Identity{}, false, err
	}
	resp, err := u.store.Create(ctx, &storev1.CreateRequest{
		Resource: &storev1.Resource{Group: "authentication.k8s.io", Version: "v1", Resource: "tokenreviews"}, Object: &storev1.Object{Object: body},
	})
	if err != nil {
		return identity.Identity{}, false, fmt.Errorf("ask whose a token is: %w", err)
	}
	if err := kinds.Decode(resp.GetObject().GetObject(), review); err != nil {
		return identity.Identity{}, false, err
	}
	user := review.Status.User
	id := identity.Identity{Name: user.Username, UID: user.UID, Groups: user.Groups, Extra: make(map[string][]string, len(user.Extra))}
	for key, values := range user.Extra {
		id.Extra[key] = values
	}
	return id, review.Status.Authenticated, nil
}
