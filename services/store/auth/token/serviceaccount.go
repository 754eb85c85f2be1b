// Package token tells whose a bearer token is: one of a file of fixed tokens,
// or a service account's, which it also issues.
//
// A service account token is a signed JWT that names the account and, if it
// was made for one, the pod it is bound to. It is good for its audiences, until
// it expires, and no longer than the account and the pod exist.
package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// DefaultAudience is who tokens are for that name no audience: the cluster.
const DefaultAudience = "https://kubernetes.default.svc"

// The bounds of a token's life, and what its identity tells beyond the
// account.
const (
	shortestLife = 10 * time.Minute
	longestLife  = 1 << 32 * time.Second
	defaultLife  = time.Hour
	// deletedPodLeeway lets a pod that is being deleted finish its calls.
	deletedPodLeeway = 60 * time.Second

	extraPod        = "authentication.kubernetes.io/pod-name"
	extraPodUID     = "authentication.kubernetes.io/pod-uid"
	extraNode       = "authentication.kubernetes.io/node-name"
	extraNodeUID    = "authentication.kubernetes.io/node-uid"
	extraCredential = "authentication.kubernetes.io/credential-id"
)

// ServiceAccounts issues and verifies service account tokens. It implements
// access.Authenticator and access.TokenIssuer.
type ServiceAccounts struct {
	reader access.Reader
	issuer string
	// keys verify; the first also signs.
	keys []Key
	now  func() time.Time
}

// NewServiceAccounts returns a ServiceAccounts that signs with the first key
// and accepts what any of them signed.
func NewServiceAccounts(reader access.Reader, issuer string, keys ...Key) (*ServiceAccounts, error) {
	if len(keys) == 0 || keys[0].private == nil {
		return nil, errors.New("service account tokens need a signing key")
	}
	return &ServiceAccounts{reader: reader, issuer: issuer, keys: keys, now: time.Now}, nil
}

// IssueToken implements access.TokenIssuer.
func (s *ServiceAccounts) IssueToken(ctx context.Context, account, request kinds.Object) error {
	sa, ok := account.(*corev1.ServiceAccount)
	if !ok {
		return fmt.Errorf("issue a token: %T is no service account", account)
	}
	r, ok := request.(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("issue a token: %T is no token request", request)
	}
	life, err := lifeOf(r)
	if err != nil {
		return err
	}
	bound, err := s.bind(ctx, sa, r.Spec.BoundObjectRef)
	if err != nil {
		return err
	}
	if len(r.Spec.Audiences) == 0 {
		r.Spec.Audiences = []string{DefaultAudience}
	}
	now := s.now()
	expires := now.Add(life)
	signed, err := s.keys[0].sign(claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer, Subject: userName(sa.Namespace, sa.Name), Audience: r.Spec.Audiences, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Private: bound,
	})
	if err != nil {
		return fmt.Errorf("sign a token for %s/%s: %w", sa.Namespace, sa.Name, err)
	}
	seconds := int64(life / time.Second)
	r.Spec.ExpirationSeconds = &seconds
	r.Status = authenticationv1.TokenRequestStatus{Token: signed, ExpirationTimestamp: metav1.NewTime(expires.Truncate(time.Second))}
	return nil
}

func userName(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func lifeOf(r *authenticationv1.TokenRequest) (time.Duration, error) {
	if r.Spec.ExpirationSeconds == nil {
		return defaultLife, nil
	}
	life := time.Duration(*r.Spec.ExpirationSeconds) * time.Second
	path := field.NewPath("spec", "expirationSeconds")
	var errs field.ErrorList
	switch {
	case *r.Spec.ExpirationSeconds > int64(longestLife/time.Second):
		errs = append(errs, field.Invalid(path, *r.Spec.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	case life < shortestLife:
		errs = append(errs, field.Invalid(path, *r.Spec.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	default:
		return life, nil
	}
	kind := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind()
	return 0, apierrors.NewInvalid(kind, r.Name, errs)
}

// bind finds the object that a token is to be bound to.
func (s *ServiceAccounts) bind(ctx context.Context, sa *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (privateClaims, error) {
	c := privateClaims{Namespace: sa.Namespace, ServiceAccount: reference{Name: sa.Name, UID: string(sa.UID)}}
	if ref == nil {
		return c, nil
	}
	resources := map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
	resource, ok := resources[ref.Kind]
	if !ok || ref.APIVersion != "v1" {
		return c, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to %s %q: only Pods, Secrets and Nodes can be bound to", sa.Name, ref.Kind, ref.Name))
	}
	namespace := sa.Namespace
	if ref.Kind == "Node" {
		namespace = ""
	}
	obj, err := s.reader.Get(ctx, corev1.SchemeGroupVersion.WithResource(resource), namespace, ref.Name)
	if err != nil {
		return c, err
	}
	if ref.UID != "" && ref.UID != obj.GetUID() {
		return c, apierrors.NewConflict(corev1.Resource(resource), ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	to := &reference{Name: obj.GetName(), UID: string(obj.GetUID())}
	switch ref.Kind {
	case "Secret":
		c.Secret = to
	case "Node":
		c.Node = to
	case "Pod":
		c.Pod = to
		return c, s.bindToPod(ctx, &c, sa, obj)
	}
	return c, nil
}

// bindToPod: a pod's token is its own account's and names the pod's node.
func (s *ServiceAccounts) bindToPod(ctx context.Context, c *privateClaims, sa *corev1.ServiceAccount, obj kinds.Object) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.ServiceAccountName != sa.Name {
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

// AuthenticateToken implements access.Authenticator.
func (s *ServiceAccounts) AuthenticateToken(ctx context.Context, raw string, audiences []string) (identity.Identity, bool, error) {
	if len(audiences) == 0 {
		audiences = []string{DefaultAudience}
	}
	if strings.Count(raw, ".") != 2 {
		return identity.Identity{}, false, nil
	}
	c, ok := parse(raw, s.keys, s.issuer, s.now)
	if !ok || !shareOne(c.Audience, audiences) || c.Subject != userName(c.Private.Namespace, c.Private.ServiceAccount.Name) {
		return identity.Identity{}, false, nil
	}
	alive, err := s.alive(ctx, &c.Private)
	if err != nil || !alive {
		return identity.Identity{}, false, err
	}
	return identityOf(&c), true, nil
}

func shareOne(a, b []string) bool {
	for _, v := range a {
		if contains(b, v) {
			return true
		}
	}
	return false
}

// alive says whether the account and what the token is bound to still exist.
func (s *ServiceAccounts) alive(ctx context.Context, c *privateClaims) (bool, error) {
	for _, bound := range []struct {
		resource, namespace string
		ref                 *reference
	}{
		{"serviceaccounts", c.Namespace, &c.ServiceAccount},
		{"pods", c.Namespace, c.Pod},
		{"secrets", c.Namespace, c.Secret},
	} {
		if bound.ref == nil {
			continue
		}
		ok, err := s.exists(ctx, bound.resource, bound.namespace, bound.ref)
		if err != nil || !ok {
			return false, err
		}
	}
	if c.Node != nil && c.Pod == nil {
		return s.exists(ctx, "nodes", "", c.Node)
	}
	return true, nil
}

func (s *ServiceAccounts) exists(ctx context.Context, resource, namespace string, ref *reference) (bool, error) {
	obj, err := s.reader.Get(ctx, corev1.SchemeGroupVersion.WithResource(resource), namespace, ref.Name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up what a token is bound to: %w", err)
	}
	if deleted := obj.GetDeletionTimestamp(); deleted != nil && s.now().After(deleted.Add(deletedPodLeeway)) {
		return false, nil
	}
	return string(obj.GetUID()) == ref.UID, nil
}

func identityOf(c *claims) identity.Identity {
	p := &c.Private
	id := identity.Identity{
		Name:   c.Subject,
		UID:    p.ServiceAccount.UID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + p.Namespace, identity.GroupAuthenticated},
		Extra:  map[string][]string{extraCredential: {"JTI=" + c.ID}},
	}
	if p.Pod != nil {
		id.Extra[extraPod], id.Extra[extraPodUID] = []string{p.Pod.Name}, []string{p.Pod.UID}
	}
	if p.Node != nil {
		id.Extra[extraNode], id.Extra[extraNodeUID] = []string{p.Node.Name}, []string{p.Node.UID}
	}
	return id
}
