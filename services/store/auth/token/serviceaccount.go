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
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// DefaultIssuer is the issuer, and so the audience, of a cluster that was told
// no other.
const DefaultIssuer = "https://kubernetes.default.svc"

// deletedLeeway lets a pod that is being deleted finish its calls.
const deletedLeeway = 60 * time.Second

// What a token's identity tells beyond the account.
const (
	extraPod        = "authentication.kubernetes.io/pod-name"
	extraPodUID     = "authentication.kubernetes.io/pod-uid"
	extraNode       = "authentication.kubernetes.io/node-name"
	extraNodeUID    = "authentication.kubernetes.io/node-uid"
	extraCredential = identity.ExtraCredential
)

// Settings are what an administrator decides about service account tokens.
type Settings struct {
	// Issuers are the accepted iss claims; the first is that of new tokens.
	Issuers []string
	// Audiences are the cluster's own: tokens that name none are for them, and
	// only tokens for one of them let anybody in. Empty: the issuers.
	Audiences []string
	// Keys verify; the first also signs.
	Keys []Key
	// MaxLife is the longest life of a token; 0 is longest of all.
	MaxLife time.Duration
	// Extend makes the tokens that pods get unasked work for a year, as long as
	// their pod exists.
	Extend bool
	// KeysURL is where the keys are found that verify tokens. Empty: at the
	// issuer's.
	KeysURL string
}

// Validate says what is wrong with the settings.
func (s Settings) Validate() error {
	var errs []error
	if len(s.Keys) > 0 && (len(s.Issuers) == 0 || slices.Contains(s.Issuers, "")) {
		errs = append(errs, errors.New("the issuer of service account tokens must not be empty"))
	}
	if s.MaxLife != 0 && (s.MaxLife < time.Hour || s.MaxLife > longestLife) {
		errs = append(errs, fmt.Errorf("the longest life of service account tokens, %s, must be between one hour and 2^32 seconds", s.MaxLife))
	}
	return errors.Join(errs...)
}

// ServiceAccounts issues and verifies service account tokens. It implements
// access.Authenticator and access.TokenIssuer.
type ServiceAccounts struct {
	reader   access.Reader
	settings Settings
	now      func() time.Time
}

// NewServiceAccounts returns a ServiceAccounts that signs with the first key
// and accepts what any of them signed. now is the time by which tokens end; nil
// is the system's.
func NewServiceAccounts(reader access.Reader, settings Settings, now func() time.Time) (*ServiceAccounts, error) {
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	if len(settings.Keys) == 0 || settings.Keys[0].private == nil {
		return nil, errors.New("service account tokens need a signing key")
	}
	if len(settings.Audiences) == 0 {
		settings.Audiences = settings.Issuers
	}
	if now == nil {
		now = time.Now
	}
	return &ServiceAccounts{reader: reader, settings: settings, now: now}, nil
}

// AuthenticateToken implements access.Authenticator.
func (s *ServiceAccounts) AuthenticateToken(ctx context.Context, raw string, audiences []string) (identity.Identity, bool, error) {
	if len(audiences) == 0 {
		audiences = s.settings.Audiences
	}
	if strings.Count(raw, ".") != 2 {
		return identity.Identity{}, false, nil
	}
	c, ok := parse(raw, s.settings.Keys, s.settings.Issuers, s.now)
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
		if slices.Contains(b, v) {
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
	if deleted := obj.GetDeletionTimestamp(); deleted != nil && s.now().After(deleted.Add(deletedLeeway)) {
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
