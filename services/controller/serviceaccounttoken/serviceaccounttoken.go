// Package serviceaccounttoken fills the Secrets that are made to hold a
// service account's token: with the token, the cluster's certificate and the
// namespace. It removes those whose account is gone.
//
// The Store signs the tokens, as it does all others, so the controllers need no
// key for that. Such a token ends with its Secret.
package serviceaccounttoken

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	byAccount = "account"
	// longestSeconds is the longest life that a token can have: 136 years.
	longestSeconds = 1 << 32
)

type reconciler struct {
	client   *client.Client
	secrets  *client.Informer[*corev1.Secret]
	accounts *client.Informer[*corev1.ServiceAccount]
	rootCA   []byte
}

// New returns the controller. Its keys name Secrets. rootCA is a PEM bundle;
// without one the Secrets get none.
func New(deps runner.Deps, rootCA []byte) (*runner.Controller, error) {
	accounts, err := client.InformerFor[*corev1.ServiceAccount](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	secrets, err := client.NewInformer[*corev1.Secret](deps.Client, client.InformerOptions{
		Fields:   fields.OneTermEqualSelector("type", string(corev1.SecretTypeServiceAccountToken)),
		Indexers: cache.Indexers{byAccount: accountOf},
	})
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, secrets: secrets, accounts: accounts, rootCA: rootCA}
	c := runner.New("serviceaccounttoken", r, deps, runner.Options{Trace: secrets.TraceContext, Background: secrets.Run})
	runner.Primary(c, secrets)
	runner.Watch(c, accounts, runner.Input[*corev1.ServiceAccount]{Keys: r.secretsOf})
	return c, nil
}

func accountOf(v any) ([]string, error) {
	secret, ok := v.(*corev1.Secret)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a Secret", v)
	}
	return []string{secret.Namespace + "/" + secret.Annotations[corev1.ServiceAccountNameKey]}, nil
}

func (r *reconciler) secretsOf(account *corev1.ServiceAccount) []string {
	found, err := r.secrets.ByIndex(byAccount, account.Namespace+"/"+account.Name)
	if err != nil {
		return nil // the index is always there
	}
	keys := make([]string, len(found))
	for i, secret := range found {
		keys[i] = cache.MetaObjectToName(secret).String()
	}
	return keys
}

// Reconcile fills or removes one Secret.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	secret, ok := r.secrets.GetByKey(key)
	if !ok || secret.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	account, err := r.account(ctx, secret)
	if err != nil {
		return runner.Done(), err
	}
	if account == nil {
		return runner.Done(), r.remove(ctx, secret)
	}
	filled, err := r.fill(ctx, secret, account)
	if err != nil || filled == nil {
		return runner.Done(), err
	}
	if err := r.client.Update(ctx, filled); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("fill the token secret %s: %w", key, err)
	}
	return runner.Done(), nil
}

// account returns the account that a Secret is for, nil if there is none or
// another of its name. That there is none must be sure: the Store is asked.
func (r *reconciler) account(ctx context.Context, secret *corev1.Secret) (*corev1.ServiceAccount, error) {
	name, uid := secret.Annotations[corev1.ServiceAccountNameKey], secret.Annotations[corev1.ServiceAccountUIDKey]
	fits := func(a *corev1.ServiceAccount) bool { return uid == "" || string(a.UID) == uid }
	if account, ok := r.accounts.Get(secret.Namespace, name); ok && fits(account) {
		return account, nil
	}
	account := &corev1.ServiceAccount{}
	err := r.client.Get(ctx, secret.Namespace, name, account)
	if apierrors.IsNotFound(err) || err == nil && !fits(account) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the service account %s/%s: %w", secret.Namespace, name, err)
	}
	return account, nil
}

func (r *reconciler) remove(ctx context.Context, secret *corev1.Secret) error {
	err := r.client.Delete(ctx, secret, client.DeleteOptions{UID: secret.UID, ResourceVersion: secret.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the token secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return nil
}

// fill returns the Secret with what it lacks, nil if that is nothing.
func (r *reconciler) fill(ctx context.Context, secret *corev1.Secret, account *corev1.ServiceAccount) (*corev1.Secret, error) {
	filled := secret.DeepCopy()
	if filled.Data == nil {
		filled.Data = make(map[string][]byte)
	}
	changed := false
	put := func(key string, value []byte) {
		if len(value) > 0 && string(filled.Data[key]) != string(value) {
			filled.Data[key], changed = value, true
		}
	}
	put(corev1.ServiceAccountRootCAKey, r.rootCA)
	put(corev1.ServiceAccountNamespaceKey, []byte(secret.Namespace))
	if filled.Annotations[corev1.ServiceAccountUIDKey] == "" {
		filled.Annotations[corev1.ServiceAccountUIDKey], changed = string(account.UID), true
	}
	if len(filled.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := r.token(ctx, secret)
		if err != nil {
			return nil, err
		}
		put(corev1.ServiceAccountTokenKey, []byte(token))
	}
	if !changed {
		return nil, nil
	}
	return filled, nil
}

func (r *reconciler) token(ctx context.Context, secret *corev1.Secret) (string, error) {
	name := secret.Annotations[corev1.ServiceAccountNameKey]
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To[int64](longestSeconds),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: secret.Name, UID: secret.UID},
	}}
	err := r.client.IssueToken(ctx, secret.Namespace, name, request)
	if apierrors.IsMethodNotSupported(err) {
		return "", runner.Terminal(fmt.Errorf("get a token of %s/%s: the Store has no key to sign it with: %w", secret.Namespace, name, err))
	}
	if err != nil {
		return "", fmt.Errorf("get a token of %s/%s: %w", secret.Namespace, name, err)
	}
	return request.Status.Token, nil
}
