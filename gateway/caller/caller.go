// Package caller finds out who makes an HTTP request and tells the Store.
//
// A verified client certificate names the user (CN) and groups (O). A bearer
// token is passed on for the Store to judge. A request with neither is
// anonymous. The Store takes the user from gRPC metadata that only gateways
// may send, so what a client puts into headers of those names never gets there.
package caller

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/flowheader"
	"navarch.dev/navarch/internal/identity"
)

// The metadata keys that the Store reads.
const (
	keyUser             = "navarch-remote-user"
	keyUID              = "navarch-remote-uid"
	keyGroup            = "navarch-remote-group"
	keyExtra            = "navarch-remote-extra"
	keyAuthorization    = "authorization"
	keyImpersonateUser  = "navarch-impersonate-user"
	keyImpersonateUID   = "navarch-impersonate-uid"
	keyImpersonateGroup = "navarch-impersonate-group"
	keyImpersonateExtra = "navarch-impersonate-extra"
)

// The headers of the Kubernetes API that ask to act as somebody else.
const (
	headerImpersonateUser  = "Impersonate-User"
	headerImpersonateUID   = "Impersonate-Uid"
	headerImpersonateGroup = "Impersonate-Group"
	headerImpersonateExtra = "Impersonate-Extra-"
)

// Caller is who makes a request, as far as HTTP tells.
type Caller struct {
	// Identity is from the certificate; anonymous without one. It is not
	// known, and empty, if there is a token.
	Identity identity.Identity
	// Token is a bearer token that nobody has judged yet.
	Token string

	metadata metadata.MD
}

// Anonymous says whether the request carries no credentials at all.
func (c Caller) Anonymous() bool { return c.Identity.Name == identity.Anonymous }

// Of returns the caller of a request. The error is Unauthorized or BadRequest.
func Of(r *http.Request) (Caller, error) {
	var c Caller
	switch token, hasToken := bearer(r); {
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		var err error
		if c, err = certified(r.Context(), r.TLS.VerifiedChains[0][0]); err != nil {
			return c, err
		}
	case hasToken:
		c.Token = token
		c.metadata = metadata.MD{keyAuthorization: {"Bearer " + token}}
	default:
		c = known(identity.FromContext(context.Background()))
	}
	if impersonates(r.Header) {
		c.metadata = c.metadata.Copy() // others may share it
		if err := c.impersonate(r.Header); err != nil {
			return c, err
		}
	}
	return c, c.validate()
}

// known returns a caller who has been identified.
func known(id identity.Identity) Caller {
	c := Caller{Identity: id, metadata: metadata.MD{keyUser: {id.Name}, keyGroup: id.Groups}}
	if id.UID != "" {
		c.metadata.Set(keyUID, id.UID)
	}
	for key, values := range id.Extra {
		c.metadata.Append(keyExtra, pairs(key, values)...)
	}
	return c
}

// NewContext returns ctx with what the Store is told about the caller in its
// outgoing metadata. Calls in it are what the request asks for, and audited if
// the request is.
func (c Caller) NewContext(ctx context.Context) context.Context {
	md := c.metadata
	if have, ok := metadata.FromOutgoingContext(ctx); ok {
		md = metadata.Join(have, md)
	}
	return audittrail.Ask(metadata.NewOutgoingContext(ctx, md))
}

// Enter returns the context in which a request is served: with the client's
// trace, and with what the Store is told about the caller. How the Store has
// classified it is in w's header, once the Store was called. The error is
// Unauthorized or BadRequest.
func Enter(w http.ResponseWriter, r *http.Request) (context.Context, error) {
	who, err := Of(r)
	if err != nil {
		return nil, err
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	return flowheader.Pass(who.NewContext(ctx), w.Header()), nil
}

// bearer returns the request's bearer token.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "bearer") && token != ""
}

// impersonates says whether a request asks to act as somebody else.
func impersonates(h http.Header) bool {
	const prefix = "Impersonate-"
	for name := range h {
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

// impersonate passes the request to act as somebody else on.
func (c Caller) impersonate(h http.Header) error {
	user := h.Get(headerImpersonateUser)
	if user != "" {
		c.metadata.Set(keyImpersonateUser, user)
	}
	if uid := h.Get(headerImpersonateUID); uid != "" {
		c.metadata.Set(keyImpersonateUID, uid)
	}
	c.metadata.Append(keyImpersonateGroup, h.Values(headerImpersonateGroup)...)
	for name, values := range h {
		if len(name) <= len(headerImpersonateExtra) || !strings.EqualFold(name[:len(headerImpersonateExtra)], headerImpersonateExtra) {
			continue
		}
		key, err := url.PathUnescape(strings.ToLower(name[len(headerImpersonateExtra):]))
		if err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("the header %s has an invalid name: %v", name, err))
		}
		c.metadata.Append(keyImpersonateExtra, pairs(key, values)...)
	}
	if user == "" && len(c.impersonation()) > 0 {
		return apierrors.NewBadRequest("requested impersonation without impersonating a user")
	}
	return nil
}

// pairs writes extra values so that metadata can carry any: "key=value", both
// escaped as in a query.
func pairs(key string, values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = url.QueryEscape(key) + "=" + url.QueryEscape(v)
	}
	return out
}

// impersonation returns the keys that ask for somebody else.
func (c Caller) impersonation() []string {
	var keys []string
	for k, v := range c.metadata {
		if strings.HasPrefix(k, "navarch-impersonate-") && len(v) > 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// validate refuses what gRPC metadata cannot carry.
func (c Caller) validate() error {
	for _, values := range c.metadata {
		for _, v := range values {
			for _, b := range []byte(v) {
				if b < 0x20 || b > 0x7e {
					return apierrors.NewUnauthorized("user, group and token must be printable ASCII")
				}
			}
		}
	}
	return nil
}
