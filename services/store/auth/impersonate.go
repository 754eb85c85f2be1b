package auth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// impersonator lets callers act as somebody else whom they may impersonate.
type impersonator struct{ authorizer access.Authorizer }

// Impersonate implements access.Impersonator.
func (i impersonator) Impersonate(ctx context.Context, user, as identity.Identity) (identity.Identity, error) {
	namespace, account, isAccount := cutServiceAccount(as.Name)
	wanted := []access.Attributes{{Resource: "users", Name: as.Name}}
	if isAccount {
		wanted = []access.Attributes{{Resource: "serviceaccounts", Namespace: namespace, Name: account}}
	}
	if as.UID != "" {
		wanted = append(wanted, access.Attributes{Group: "authentication.k8s.io", Resource: "uids", Name: as.UID})
	}
	for _, group := range as.Groups {
		wanted = append(wanted, access.Attributes{Resource: "groups", Name: group})
	}
	for _, key := range slices.Sorted(maps.Keys(as.Extra)) {
		for _, value := range as.Extra[key] {
			wanted = append(wanted, access.Attributes{Group: "authentication.k8s.io", Resource: "userextras", Subresource: key, Name: value})
		}
	}
	for _, a := range wanted {
		if err := i.require(ctx, user, a); err != nil {
			return identity.Identity{}, err
		}
	}
	return completed(as, namespace, isAccount), nil
}

func (i impersonator) require(ctx context.Context, user identity.Identity, a access.Attributes) error {
	a.User, a.Verb, a.Version = user, "impersonate", "v1"
	d, err := i.authorizer.Authorize(ctx, a)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("authorize %s to impersonate %s %s: %w", user.Name, a.Resource, a.Name, err))
	}
	if d.Allowed {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name,
		fmt.Errorf("User %q cannot impersonate resource %q in API group %q%s", user.Name, a.Resource, a.Group, scopeOf(a.Namespace)))
}

func scopeOf(namespace string) string {
	if namespace == "" {
		return " at the cluster scope"
	}
	return fmt.Sprintf(" in the namespace %q", namespace)
}

// completed adds the groups that come with a name.
func completed(as identity.Identity, namespace string, isAccount bool) identity.Identity {
	add := func(group string) {
		if !as.InGroup(group) {
			as.Groups = append(slices.Clone(as.Groups), group)
		}
	}
	if isAccount && len(as.Groups) == 0 {
		add("system:serviceaccounts")
		add("system:serviceaccounts:" + namespace)
	}
	switch {
	case as.Name == identity.Anonymous:
		add(identity.GroupUnauthenticated)
	case !as.InGroup(identity.GroupUnauthenticated):
		add(identity.GroupAuthenticated)
	}
	return as
}

// cutServiceAccount splits the user name of a service account.
func cutServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != ""
}
