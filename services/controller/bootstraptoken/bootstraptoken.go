// Package bootstraptoken removes bootstrap tokens that have expired.
package bootstraptoken

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// expirationKey is where a token's Secret says when it ends, as RFC 3339 has it.
const expirationKey = "expiration"

type reconciler struct {
	client  *client.Client
	secrets *client.Informer[*corev1.Secret]
	now     func() time.Time
}

// New returns the controller. Its keys name Secrets in kube-system. now is nil
// for the system's time.
func New(deps runner.Deps, now func() time.Time) (*runner.Controller, error) {
	secrets, err := client.NewInformer[*corev1.Secret](deps.Client, client.InformerOptions{
		Namespace: metav1.NamespaceSystem,
		Fields:    fields.OneTermEqualSelector("type", string(corev1.SecretTypeBootstrapToken)),
	})
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	r := &reconciler{client: deps.Client, secrets: secrets, now: now}
	c := runner.New("bootstraptoken", r, deps, runner.Options{Background: secrets.Run})
	runner.Primary(c, secrets)
	return c, nil
}

// Reconcile removes one token when its time has come.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	secret, ok := r.secrets.GetByKey(key)
	if !ok || secret.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	text := string(secret.Data[expirationKey])
	if text == "" {
		return runner.Done(), nil
	}
	// An end that cannot be read does not let the token live for ever.
	if end, err := time.Parse(time.RFC3339, text); err == nil {
		if left := end.Sub(r.now()); left > 0 {
			return runner.RequeueAfter(left), nil
		}
	}
	err := r.client.Delete(ctx, secret, client.DeleteOptions{UID: secret.UID, ResourceVersion: secret.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("remove the expired bootstrap token %s: %w", key, err)
	}
	return runner.Done(), nil
}
