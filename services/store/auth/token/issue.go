package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
)

// The bounds of a token's life.
const (
	shortestLife = 10 * time.Minute
	longestLife  = 1 << 32 * time.Second
	defaultLife  = time.Hour
	// mountedLife is what the Store's admission asks for with the volume that it
	// gives to every pod, and what marks that volume's tokens.
	mountedLife = 3607 * time.Second
	// extendedLife is how long the token of such a volume works for programs that
	// read it once and never again.
	extendedLife = 365 * 24 * time.Hour
)

// IssueToken implements access.TokenIssuer.
func (s *ServiceAccounts) IssueToken(ctx context.Context, account, request kinds.Object) ([]string, error) {
	sa, ok := account.(*corev1.ServiceAccount)
	if !ok {
		return nil, fmt.Errorf("issue a token: %T is no service account", account)
	}
	r, ok := request.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, fmt.Errorf("issue a token: %T is no token request", request)
	}
	if err := nameRequest(r, sa); err != nil {
		return nil, err
	}
	asked, err := lifeOf(r)
	if err != nil {
		return nil, err
	}
	bound, err := s.bind(ctx, sa, r.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	if len(r.Spec.Audiences) == 0 {
		r.Spec.Audiences = slices.Clone(s.settings.Audiences)
	}
	life, warnings := s.clamp(asked, bound)
	now := s.now()
	valid := life
	if s.extends(r, bound, life) {
		valid, bound.claims.WarnAfter = extendedLife, jwt.NewNumericDate(now.Add(life))
	}
	signed, err := s.settings.Keys[0].sign(claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.settings.Issuers[0], Subject: userName(sa.Namespace, sa.Name), Audience: r.Spec.Audiences, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(valid)),
		},
		Private: bound.claims,
	})
	if err != nil {
		return nil, fmt.Errorf("sign a token for %s/%s: %w", sa.Namespace, sa.Name, err)
	}
	seconds := int64(life / time.Second)
	r.CreationTimestamp = metav1.NewTime(now.Truncate(time.Second))
	r.Spec.ExpirationSeconds = &seconds
	r.Status = authenticationv1.TokenRequestStatus{Token: signed, ExpirationTimestamp: metav1.NewTime(now.Add(life).Truncate(time.Second))}
	return warnings, nil
}

// nameRequest gives the request the name of its account, which is all it may have.
func nameRequest(r *authenticationv1.TokenRequest, sa *corev1.ServiceAccount) error {
	for _, own := range []struct {
		field  string
		value  *string
		wanted string
	}{{"name", &r.Name, sa.Name}, {"namespace", &r.Namespace, sa.Namespace}} {
		if *own.value != "" && *own.value != own.wanted {
			return invalidRequest(sa.Name, field.Invalid(field.NewPath("metadata", own.field), *own.value,
				fmt.Sprintf("must match the service account %s if specified", own.field)))
		}
		*own.value = own.wanted
	}
	return nil
}

func invalidRequest(name string, errs ...*field.Error) error {
	kind := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind()
	return apierrors.NewInvalid(kind, name, errs)
}

func userName(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func lifeOf(r *authenticationv1.TokenRequest) (time.Duration, error) {
	if r.Spec.ExpirationSeconds == nil {
		return defaultLife, nil
	}
	seconds := *r.Spec.ExpirationSeconds
	path := field.NewPath("spec", "expirationSeconds")
	switch {
	case seconds > int64(longestLife/time.Second):
		return 0, invalidRequest(r.Name, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	case seconds < int64(shortestLife/time.Second):
		return 0, invalidRequest(r.Name, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	}
	return time.Duration(seconds) * time.Second, nil
}

// clamp shortens a life to what the administrator allows. A token that a
// Secret of its own kind holds lives as long as that Secret.
func (s *ServiceAccounts) clamp(life time.Duration, b binding) (time.Duration, []string) {
	longest := s.settings.MaxLife
	if longest == 0 || life <= longest || b.tokenSecret {
		return life, nil
	}
	return longest, []string{fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", int64(life/time.Second), int64(longest/time.Second))}
}

// extends says whether a token is one that a pod gets without asking. Programs
// that do not read it again would fail after an hour, so it works for longer
// than it says, though no longer than its pod exists.
func (s *ServiceAccounts) extends(r *authenticationv1.TokenRequest, b binding, life time.Duration) bool {
	return s.settings.Extend && b.claims.Pod != nil && life == mountedLife && shareOne(r.Spec.Audiences, s.settings.Audiences)
}

// binding is what a token ends with.
type binding struct {
	claims privateClaims
	// tokenSecret says that it is the Secret that the token will be kept in.
	tokenSecret bool
}

// bind finds the object that a token is to be bound to.
func (s *ServiceAccounts) bind(ctx context.Context, sa *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (binding, error) {
	b := binding{claims: privateClaims{Namespace: sa.Namespace, ServiceAccount: reference{Name: sa.Name, UID: string(sa.UID)}}}
	if ref == nil {
		return b, nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	resource, ok := map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}[ref.Kind]
	if !ok || gvk.Group != "" {
		return b, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	namespace := sa.Namespace
	if ref.Kind == "Node" {
		namespace = ""
	}
	obj, err := s.reader.Get(ctx, corev1.SchemeGroupVersion.WithResource(resource), namespace, ref.Name)
	if err != nil {
		return b, err
	}
	if ref.UID != "" && ref.UID != obj.GetUID() {
		return b, apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	to := &reference{Name: obj.GetName(), UID: string(obj.GetUID())}
	switch o := obj.(type) {
	case *corev1.Secret:
		b.claims.Secret = to
		b.tokenSecret = o.Type == corev1.SecretTypeServiceAccountToken
	case *corev1.Node:
		b.claims.Node = to
	case *corev1.Pod:
		b.claims.Pod = to
		return b, s.bindToPod(ctx, &b.claims, sa, o)
	}
	return b, nil
}

// bindToPod: a pod's token is its own account's and names the pod's node.
func (s *ServiceAccounts) bindToPod(ctx context.Context, c *privateClaims, sa *corev1.ServiceAccount, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != sa.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", sa.Name))
	}
	if pod.Spec.NodeName == "" {
		return nil
	}
	c.Node = &reference{Name: pod.Spec.NodeName}
	node, err := s.reader.Get(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Node.UID = string(node.GetUID())
	return nil
}
