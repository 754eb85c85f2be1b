package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// The metadata in which a gateway forwards whose request it carries.
const (
	remoteUser  = "navarch-remote-user"
	remoteUID   = "navarch-remote-uid"
	remoteGroup = "navarch-remote-group"
	remoteExtra = "navarch-remote-extra"
)

// The metadata in which it forwards whom that user wants to act as.
const (
	actAsUser  = "navarch-impersonate-user"
	actAsUID   = "navarch-impersonate-uid"
	actAsGroup = "navarch-impersonate-group"
	actAsExtra = "navarch-impersonate-extra"
)

// caller returns who makes the call: the connection's identity or, on a
// gateway's connection, the user whose request the gateway forwards.
func (s *Store) caller(ctx context.Context) (identity.Identity, error) {
	id := identity.FromContext(ctx)
	if !id.InGroup(identity.GroupGateways) {
		return id, nil
	}
	user, err := s.forwardedCaller(ctx, id)
	if err != nil {
		return identity.Identity{}, err
	}
	return s.actAs(ctx, user)
}

// forwardedCaller returns the user whose request a gateway forwards, the
// gateway itself where it forwards none.
func (s *Store) forwardedCaller(ctx context.Context, gateway identity.Identity) (identity.Identity, error) {
	if token := bearerToken(ctx); token != "" {
		return s.tokenOwner(ctx, token)
	}
	if user := metadata.ValueFromIncomingContext(ctx, remoteUser); len(user) > 0 {
		return identityIn(ctx, user[0], remoteUID, remoteGroup, remoteExtra), nil
	}
	return gateway, nil
}

// actAs returns whom the user wants to act as, if it may; the user itself if
// it wants to act as nobody else.
func (s *Store) actAs(ctx context.Context, user identity.Identity) (identity.Identity, error) {
	as := metadata.ValueFromIncomingContext(ctx, actAsUser)
	if len(as) == 0 {
		return user, nil
	}
	if s.control.Impersonator == nil {
		return identity.Identity{}, apierrors.NewForbidden(schema.GroupResource{Resource: "users"}, as[0],
			fmt.Errorf("User %q cannot impersonate anybody here", user.Name))
	}
	acting, err := s.control.Impersonator.Impersonate(ctx, user, identityIn(ctx, as[0], actAsUID, actAsGroup, actAsExtra))
	if err == nil && audittrail.Wanted(ctx) {
		info := audittrail.UserInfo(acting)
		s.sendTrail(ctx, audittrail.Trail{ImpersonatedUser: &info})
	}
	return acting, err
}

func bearerToken(ctx context.Context) string {
	for _, v := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if scheme, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token)
		}
	}
	return ""
}

func (s *Store) tokenOwner(ctx context.Context, token string) (identity.Identity, error) {
	if s.control.Authenticator == nil {
		return identity.Identity{}, apierrors.NewUnauthorized("Unauthorized")
	}
	id, ok, err := s.control.Authenticator.AuthenticateToken(ctx, token, nil)
	if err != nil {
		return identity.Identity{}, fmt.Errorf("authenticate a token: %w", err)
	}
	if !ok {
		return identity.Identity{}, apierrors.NewUnauthorized("Unauthorized")
	}
	return id, nil
}

// identityIn reads an identity from the call's metadata under the given keys.
// Extra values are "key=value", both escaped as in a query.
func identityIn(ctx context.Context, user, uidKey, groupKey, extraKey string) identity.Identity {
	id := identity.Identity{Name: user, Groups: metadata.ValueFromIncomingContext(ctx, groupKey)}
	if uid := metadata.ValueFromIncomingContext(ctx, uidKey); len(uid) > 0 {
		id.UID = uid[0]
	}
	for _, pair := range metadata.ValueFromIncomingContext(ctx, extraKey) {
		key, value, _ := strings.Cut(pair, "=")
		if id.Extra == nil {
			id.Extra = make(map[string][]string)
		}
		key = unescaped(key)
		id.Extra[key] = append(id.Extra[key], unescaped(value))
	}
	return id
}

// unescaped leaves text alone that a gateway did not escape.
func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// authorize refuses the call unless its attributes are allowed.
func (s *Store) authorize(ctx context.Context, a access.Attributes) error {
	d, err := s.control.Authorizer.Authorize(ctx, a)
	s.noteDecision(ctx, d, err)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("authorize %s: %w", a.User.Name, err))
	}
	if d.Allowed && !d.Denied {
		return nil
	}
	return forbidden(a, d.Reason)
}

// lateAuthorizer is the Store's authorizer for what is made before it.
type lateAuthorizer struct{ store *Store }

// Authorize implements access.Authorizer.
func (l lateAuthorizer) Authorize(ctx context.Context, a access.Attributes) (access.Decision, error) {
	return l.store.control.Authorizer.Authorize(ctx, a)
}

// forbidden says who may not do what, in Kubernetes' words.
func forbidden(a access.Attributes, reason string) error {
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	message := fmt.Sprintf("User %q cannot %s resource %q in API group %q", a.User.Name, a.Verb, resource, a.Group)
	if a.Namespace != "" {
		message += fmt.Sprintf(" in the namespace %q", a.Namespace)
	} else {
		message += " at the cluster scope"
	}
	if reason != "" {
		message += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, errors.New(message))
}
