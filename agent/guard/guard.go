// Package guard decides who may use the HTTPS port of a node's agent, as a
// kubelet does that lets nobody in unknown and asks the API about everybody:
//
//   - A client certificate of the cluster's authority names its user. A bearer
//     token is judged by the Store (TokenReview). Who shows neither is answered
//     401 Unauthorized.
//   - The Store says whether the user may do this to the node
//     (SubjectAccessReview): the verb is that of the HTTP method, the resource a
//     subresource of the node. Who may not is answered 403 Forbidden.
//
// What the Store has said is remembered as long as kubelets do: two minutes
// about tokens, five about what is allowed, half a minute about what is not.
// So long readers go on when the Store cannot be reached. After that the answer
// is 401 to tokens and 500 to certificates.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
)

// Reviews answers reviews: what is created is filled with the answer.
// *client.Client implements it.
type Reviews interface {
	Create(ctx context.Context, review kinds.Object) error
}

// Guard lets in whom the Store lets read a node.
type Guard struct {
	node        string
	tokens      *tokens
	permissions *permissions
	log         *slog.Logger
}

// New returns the guard of a node.
func New(node string, reviews Reviews, log *slog.Logger) *Guard {
	r := patient{reviews}
	return &Guard{node: node, tokens: newTokens(r), permissions: newPermissions(r), log: log}
}

// Protect returns a handler that has next answer those who may ask.
func (g *Guard) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, known, err := g.authenticate(r)
		if err != nil {
			g.log.WarnContext(r.Context(), "a request's user could not be found out", "path", r.URL.Path, "error", err)
		}
		if !known {
			refuse(w, http.StatusUnauthorized, "Unauthorized")
			return
		}
		subresources := subresourcesOf(r.URL.Path)
		verb := verbOf(r.Method, r.URL.Path)
		for _, subresource := range subresources {
			allowed, err := g.permissions.allowed(r.Context(), user, &authorizationv1.ResourceAttributes{
				Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: g.node,
			})
			if err != nil {
				g.log.WarnContext(r.Context(), "a request could not be authorized", "user", user.Name, "path", r.URL.Path, "error", err)
				refuse(w, http.StatusInternalServerError,
					fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", user.Name, verb, subresource))
				return
			}
			if allowed {
				r.Header.Del("Authorization")
				next.ServeHTTP(w, r.WithContext(identity.NewContext(r.Context(), user)))
				return
			}
		}
		refuse(w, http.StatusForbidden,
			fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", user.Name, verb, subresources))
	})
}

// refuse answers in words alone.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // who asked has gone
}

// authenticate finds out who makes a request, false if nobody knows.
func (g *Guard) authenticate(r *http.Request) (identity.Identity, bool, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		cert := r.TLS.VerifiedChains[0][0]
		id := identity.FromCertificate(cert)
		id.Extra = map[string][]string{identity.ExtraCredential: {identity.CertificateID(cert)}}
		return id, id.Name != "", nil
	}
	token := bearer(r.Header)
	if token == "" {
		return identity.Identity{}, false, nil
	}
	return g.tokens.user(r.Context(), token)
}

// bearer returns the bearer token of a request, "" if there is none.
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, _ = strings.Cut(token, " ")
	return token
}

const (
	// reviewTime bounds one question to the Store, with its repetitions.
	reviewTime = 10 * time.Second
	// maxRemembered bounds how many answers of a kind are remembered.
	maxRemembered = 8192
)

// patient asks again for a while when the Store cannot answer.
type patient struct{ reviews Reviews }

// backoff is that of Kubernetes' delegated authentication and authorization.
func backoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
}

// ask has a review answered, whether or not who asked for it waits.
func (p patient) ask(ctx context.Context, review kinds.Object) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTime)
	defer cancel()
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, backoff(), func(ctx context.Context) (bool, error) {
		last = p.reviews.Create(ctx, review)
		switch {
		case last == nil:
			return true, nil
		case apierrors.IsServiceUnavailable(last), apierrors.IsInternalError(last), apierrors.IsTooManyRequests(last), apierrors.IsServerTimeout(last):
			return false, nil
		}
		return false, last
	})
	if err != nil && last != nil {
		return last
	}
	return err
}
