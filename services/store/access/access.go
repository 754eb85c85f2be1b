// Package access holds what the Store asks of those who decide about its
// callers: who a bearer token belongs to, whether a call is allowed, and what
// the review kinds (SelfSubjectAccessReview and its like) answer. The Store
// calls these interfaces; package auth implements them.
package access

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
)

// Attributes describe one call: who wants to do what to which resource.
type Attributes struct {
	User identity.Identity
	// Verb is Kubernetes' verb: get, list, watch, create, update, patch,
	// delete, deletecollection.
	Verb string
	// Group, Version and Resource name the kind, Subresource is "" for the
	// object itself.
	Group, Version, Resource, Subresource string
	// Namespace is empty for all namespaces and for cluster-scoped kinds, Name
	// for calls about no single object.
	Namespace, Name string
	// FieldSelector and LabelSelector are those of a list, a watch or a
	// deletecollection, as the caller wrote them.
	FieldSelector, LabelSelector string
	// Path is set for calls about no resource at all ("/metrics"); then the
	// fields above, but for User and Verb, are empty.
	Path string
}

// Decision is an Authorizer's answer.
type Decision struct {
	Allowed bool
	// Denied says that the call is refused even if another rule allowed it.
	Denied bool
	// Reason explains the decision to an administrator. It may be empty.
	Reason string
}

// Authorizer decides whether a call is allowed. An error means that it could
// not tell; the Store then refuses the call.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (Decision, error)
}

// Authenticator finds out whose a bearer token is. It returns false for a
// token that is nobody's.
type Authenticator interface {
	AuthenticateToken(ctx context.Context, token string, audiences []string) (identity.Identity, bool, error)
}

// Reviewer answers the kinds that are evaluated and not stored: access
// reviews, rules reviews and token reviews. It fills obj's status.
type Reviewer interface {
	Review(ctx context.Context, user identity.Identity, kind *kinds.Kind, namespace string, obj kinds.Object) error
}

// TokenIssuer makes service account tokens (serviceaccounts/token). request is
// an *authenticationv1.TokenRequest; its status is filled. account is the
// ServiceAccount asked for. The strings are warnings for the caller.
type TokenIssuer interface {
	IssueToken(ctx context.Context, account, request kinds.Object) ([]string, error)
}

// Document is something that is published under a path, for those who are
// allowed to get that path.
type Document struct {
	ContentType string
	Content     []byte
}

// Reader reads the Store's own objects from memory. What it returns is shared
// and must not be changed.
type Reader interface {
	// Get returns an object, or an error for which apierrors.IsNotFound holds.
	Get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (kinds.Object, error)
	// List returns the objects of a namespace ("" is all), ordered by
	// namespace and name.
	List(ctx context.Context, resource schema.GroupVersionResource, namespace string) ([]kinds.Object, error)
	// ListOnly is List of the objects in which the kind's WatchField has a value:
	// of pods, those on a node. It costs what there is of these.
	ListOnly(ctx context.Context, resource schema.GroupVersionResource, namespace, value string) ([]kinds.Object, error)
	// Version returns a number that changes whenever an object of the resource
	// does, so that what is derived from a List can be kept until then.
	Version(ctx context.Context, resource schema.GroupVersionResource) (int64, error)
}

// Impersonator decides whether a caller may act as somebody else. as has the
// name, the uid, the groups and the extra values asked for; the answer is as
// with the groups that come with its name, or a Forbidden error.
type Impersonator interface {
	Impersonate(ctx context.Context, user, as identity.Identity) (identity.Identity, error)
}

// Write is an authorized write, with what is to be stored.
type Write struct {
	User identity.Identity
	Kind *kinds.Kind
	// Namespace is where the object is, empty for a cluster-scoped kind.
	Namespace string
	// Subresource is empty for the object itself.
	Subresource string
	// Object is what is to be stored, or a subresource's own kind (a
	// *authenticationv1.TokenRequest for serviceaccounts/token). It must not be
	// changed.
	Object kinds.Object
	// Old is what is stored; nil for a creation.
	Old kinds.Object
}

// Guard refuses authorized writes for what they contain: roles that give away
// more than their author has, an agent's writes beyond its own node and pods.
// The Store asks it about each write after admission has changed the object.
type Guard interface {
	CheckWrite(ctx context.Context, w Write) error
}

// Control is everything that decides about callers. A nil Authenticator knows
// no token, a nil Reviewer answers no review, a nil TokenIssuer issues
// nothing, a nil Impersonator lets nobody act as somebody else, a nil Guard
// refuses no write, a nil Mend leaves everything alone; the Authorizer must be
// set.
type Control struct {
	Authorizer    Authorizer
	Authenticator Authenticator
	Reviewer      Reviewer
	TokenIssuer   TokenIssuer
	Impersonator  Impersonator
	Guard         Guard
	// Mend returns what an object must become that the Store was told to make at
	// start and that exists already, nil to leave it alone.
	Mend func(stored, seed kinds.Object) kinds.Object
	// Documents are published by path.
	Documents map[string]Document
}

// MastersOnly allows everything to the group system:masters and nothing to
// anybody else. It is what a Store without RBAC enforces.
type MastersOnly struct{}

// Authorize implements Authorizer.
func (MastersOnly) Authorize(_ context.Context, a Attributes) (Decision, error) {
	if a.User.InGroup(identity.GroupMasters) {
		return Decision{Allowed: true, Reason: "member of " + identity.GroupMasters}, nil
	}
	return Decision{Reason: "only " + identity.GroupMasters + " may use this Store"}, nil
}
