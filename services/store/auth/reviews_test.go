package auth

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/auth/rbac"
)

func TestReviewsThatAskNothing(t *testing.T) {
	control, _ := newTestControl(t)
	res := &authorizationv1.ResourceAttributes{Namespace: "a", Verb: "get", Resource: "pods"}
	path := &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/x"}
	type spec = authorizationv1.SubjectAccessReviewSpec
	for _, c := range []struct {
		name string
		obj  kinds.Object
		want string
	}{
		{"nothing", &authorizationv1.SelfSubjectAccessReview{}, "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"},
		{"both", &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: res, NonResourceAttributes: path}}, "cannot be specified in combination with resourceAttributes"},
		{"named", &authorizationv1.SelfSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: res}}, "metadata: Invalid value"},
		{"nobody", &authorizationv1.SubjectAccessReview{Spec: spec{ResourceAttributes: res}}, "spec.user: Invalid value: \"\": at least one of user or group must be specified"},
		{"another namespace", &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "b"}, Spec: spec{User: "u", ResourceAttributes: res}}, "must match metadata.namespace"},
		{"a path, locally", &authorizationv1.LocalSubjectAccessReview{Spec: spec{User: "u", NonResourceAttributes: path}}, "disallowed on this kind of request"},
		{"an empty selector", &authorizationv1.SubjectAccessReview{Spec: spec{User: "u", ResourceAttributes: &authorizationv1.ResourceAttributes{
			LabelSelector: &authorizationv1.LabelSelectorAttributes{}}}}, "requirements or rawSelector is required"},
		{"no namespace", &authorizationv1.SelfSubjectRulesReview{}, "no namespace on request"},
		{"no token", &authenticationv1.TokenReview{}, "token is required for TokenReview in authentication"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, err := kinds.Default().ForObject(c.obj)
			if err != nil {
				t.Fatal(err)
			}
			err = control.Reviewer.Review(t.Context(), person("ann"), kind, "a", c.obj)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// Masters need no binding, and are told of those that they have.
func TestRulesOfMasters(t *testing.T) {
	root := identity.Identity{Name: "root", Groups: []string{identity.GroupAuthenticated, identity.GroupMasters}}
	for _, c := range []struct {
		name  string
		bound []kinds.Object
		want  []string
	}{
		{"without roles", nil, []string{"*"}},
		{"as a cluster starts", Bootstrap(), []string{"*", "selfsubjectaccessreviews", "selfsubjectreviews"}},
	} {
		stored := &cluster{}
		stored.add(c.bound...)
		rules, err := rbac.New(stored).RulesFor(t.Context(), root, "a")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, rule := range rules {
			if len(rule.Resources) > 0 {
				got = append(got, rule.Resources[0])
			}
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%s: rules for %q, want %q", c.name, got, c.want)
		}
	}
}
