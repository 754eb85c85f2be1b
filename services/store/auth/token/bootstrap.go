package token

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// What bootstrap tokens and their Secrets look like.
const (
	bootstrapUser         = "system:bootstrap:"
	bootstrapGroup        = "system:bootstrappers"
	bootstrapSecretPrefix = "bootstrap-token-"

	bootstrapID          = "token-id"
	bootstrapSecret      = "token-secret"
	bootstrapExpiration  = "expiration"
	bootstrapUsage       = "usage-bootstrap-authentication"
	bootstrapExtraGroups = "auth-extra-groups"
)

// Bootstrap knows the tokens by which machines join a cluster: short-lived
// Secrets of type bootstrap.kubernetes.io/token in kube-system, each named for
// the public half of its token, "id.secret". It implements
// access.Authenticator.
type Bootstrap struct {
	reader access.Reader
	form   *regexp.Regexp
	group  *regexp.Regexp
	now    func() time.Time
}

// NewBootstrap returns a Bootstrap over the Secrets that reader shows. now is
// the time by which tokens end; nil is the system's.
func NewBootstrap(reader access.Reader, now func() time.Time) *Bootstrap {
	if now == nil {
		now = time.Now
	}
	return &Bootstrap{
		reader: reader, now: now,
		form:  regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`),
		group: regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`),
	}
}

// AuthenticateToken implements access.Authenticator.
func (b *Bootstrap) AuthenticateToken(ctx context.Context, token string, _ []string) (identity.Identity, bool, error) {
	parts := b.form.FindStringSubmatch(token)
	if parts == nil {
		return identity.Identity{}, false, nil
	}
	id, secret := parts[1], parts[2]
	obj, err := b.reader.Get(ctx, corev1.SchemeGroupVersion.WithResource("secrets"), metav1.NamespaceSystem, bootstrapSecretPrefix+id)
	if apierrors.IsNotFound(err) {
		return identity.Identity{}, false, nil
	}
	if err != nil {
		return identity.Identity{}, false, fmt.Errorf("look up a bootstrap token: %w", err)
	}
	kept, ok := obj.(*corev1.Secret)
	if !ok || !b.good(kept, id, secret) {
		return identity.Identity{}, false, nil
	}
	groups, ok := b.groups(kept)
	if !ok {
		return identity.Identity{}, false, nil
	}
	return identity.Identity{Name: bootstrapUser + id, Groups: groups}, true, nil
}

// good says whether a Secret is that of the token, in use, and not at its end.
func (b *Bootstrap) good(kept *corev1.Secret, id, secret string) bool {
	return kept.DeletionTimestamp == nil && kept.Type == corev1.SecretTypeBootstrapToken &&
		string(kept.Data[bootstrapID]) == id &&
		subtle.ConstantTimeCompare(kept.Data[bootstrapSecret], []byte(secret)) == 1 &&
		string(kept.Data[bootstrapUsage]) == "true" && !b.ended(kept)
}

// ended: a Secret whose end cannot be read counts as at its end.
func (b *Bootstrap) ended(kept *corev1.Secret) bool {
	text := string(kept.Data[bootstrapExpiration])
	if text == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, text)
	return err != nil || !b.now().Before(end)
}

// groups returns those that the Secret names and the one that all bootstrap
// tokens are in. A Secret that names others is not good.
func (b *Bootstrap) groups(kept *corev1.Secret) ([]string, bool) {
	groups := []string{bootstrapGroup}
	if text := string(kept.Data[bootstrapExtraGroups]); text != "" {
		for _, group := range strings.Split(text, ",") {
			if !b.group.MatchString(group) {
				return nil, false
			}
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return append(slices.Compact(groups), identity.GroupAuthenticated), true
}
