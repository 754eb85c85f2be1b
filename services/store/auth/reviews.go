package auth

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/auth/rbac"
)

// reviewer answers the kinds that ask about access.
type reviewer struct {
	authorizer     access.Authorizer
	roles          *rbac.Authorizer
	authenticators chain
	// audiences are whom a token must be for if a review does not say.
	audiences []string
}

// Review implements access.Reviewer.
func (r reviewer) Review(ctx context.Context, user identity.Identity, kind *kinds.Kind, namespace string, obj kinds.Object) error {
	switch o := obj.(type) {
	case *authorizationv1.SelfSubjectAccessReview:
		o.Status = authorizationv1.SubjectAccessReviewStatus{}
		if err := invalid(kind, checkSelf(o)); err != nil {
			return err
		}
		o.Status = r.decide(ctx, attributesOf(user, o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes))
	case *authorizationv1.SubjectAccessReview:
		if err := invalid(kind, checkSubject(o)); err != nil {
			return err
		}
		o.Status = r.subjectAccess(ctx, &o.Spec)
	case *authorizationv1.LocalSubjectAccessReview:
		if err := invalid(kind, checkLocal(o)); err != nil {
			return err
		}
		if in := o.Spec.ResourceAttributes.Namespace; in != namespace {
			return apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %s", namespace))
		}
		o.Status = r.subjectAccess(ctx, &o.Spec)
	case *authorizationv1.SelfSubjectRulesReview:
		return r.rules(ctx, user, o)
	case *authenticationv1.SelfSubjectReview:
		*o = authenticationv1.SelfSubjectReview{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now().Rfc3339Copy()},
			Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(user)},
		}
	case *authenticationv1.TokenReview:
		return r.tokenReview(ctx, o)
	default:
		return fmt.Errorf("%s is not a kind of review", kind.Kind)
	}
	return nil
}

func (r reviewer) decide(ctx context.Context, a access.Attributes) authorizationv1.SubjectAccessReviewStatus {
	d, err := r.authorizer.Authorize(ctx, a)
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: d.Allowed && !d.Denied, Denied: d.Denied, Reason: d.Reason}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func (r reviewer) subjectAccess(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	user := identity.Identity{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: map[string][]string{}}
	for key, values := range spec.Extra {
		user.Extra[strings.ToLower(key)] = values
	}
	return r.decide(ctx, attributesOf(user, spec.ResourceAttributes, spec.NonResourceAttributes))
}

// attributesOf returns the call that a valid review asks about.
func attributesOf(user identity.Identity, res *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) access.Attributes {
	if res == nil {
		return access.Attributes{User: user, Verb: path.Verb, Path: path.Path}
	}
	a := access.Attributes{
		User: user, Verb: res.Verb, Group: res.Group, Version: res.Version, Resource: res.Resource,
		Subresource: res.Subresource, Namespace: res.Namespace, Name: res.Name,
	}
	if res.FieldSelector != nil {
		a.FieldSelector = fieldSelector(res.FieldSelector)
	}
	if res.LabelSelector != nil {
		a.LabelSelector = labelSelector(res.LabelSelector)
	}
	return a
}

func (r reviewer) rules(ctx context.Context, user identity.Identity, o *authorizationv1.SelfSubjectRulesReview) error {
	if o.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	rules, err := r.roles.RulesFor(ctx, user, o.Spec.Namespace)
	if err != nil {
		return err
	}
	*o = authorizationv1.SelfSubjectRulesReview{}
	if _, isNode := user.NodeName(); isNode {
		// What depends on the node's pods cannot be told as rules.
		rules = append(rules, rbac.NodeRules()...)
		o.Status.Incomplete = true
		o.Status.EvaluationError = "node authorizer does not support user rule resolution"
	}
	o.Status.ResourceRules, o.Status.NonResourceRules = []authorizationv1.ResourceRule{}, []authorizationv1.NonResourceRule{}
	for _, rule := range rules {
		addRule(&o.Status, rule)
	}
	return nil
}

func (r reviewer) tokenReview(ctx context.Context, o *authenticationv1.TokenReview) error {
	if o.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	o.Status = authenticationv1.TokenReviewStatus{}
	audiences := o.Spec.Audiences
	if len(audiences) == 0 {
		audiences = r.audiences
	}
	// Each audience is asked about by itself: whoever reads the answer trusts
	// that the token is meant for every audience in it.
	for _, audience := range audiences {
		id, ok, err := r.authenticators.AuthenticateToken(ctx, o.Spec.Token, []string{audience})
		if err != nil {
			o.Status.Error = err.Error()
		}
		if ok {
			o.Status.Authenticated, o.Status.User = true, userInfo(id)
			o.Status.Audiences = append(o.Status.Audiences, audience)
		}
	}
	return nil
}

func userInfo(id identity.Identity) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: id.Name, UID: id.UID, Groups: id.Groups}
	for key, values := range id.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}

func addRule(s *authorizationv1.SubjectRulesReviewStatus, rule rbacv1.PolicyRule) {
	if len(rule.NonResourceURLs) > 0 {
		s.NonResourceRules = append(s.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		return
	}
	s.ResourceRules = append(s.ResourceRules, authorizationv1.ResourceRule{
		Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
	})
}
