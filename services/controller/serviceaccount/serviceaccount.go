// Package serviceaccount gives every namespace what pods in it need to talk to
// the cluster: the ServiceAccount "default", and the cluster's CA certificate
// in the ConfigMap kube-root-ca.crt.
package serviceaccount

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	accountName = "default"
	rootCAName  = "kube-root-ca.crt"
	rootCAKey   = "ca.crt"
	// descriptionAnnotation tells whoever finds the ConfigMap what it is.
	descriptionAnnotation = "kubernetes.io/description"
	description           = "The certificate authority that signs the API server's certificate. Written by Navarch; changes are undone."
)

type reconciler struct {
	client     *client.Client
	namespaces *client.Informer[*corev1.Namespace]
	accounts   *client.Informer[*corev1.ServiceAccount]
	configMaps *client.Informer[*corev1.ConfigMap]
	rootCA     string
}

// New returns the controller. Its keys name namespaces. rootCA is a PEM
// bundle; without one no ConfigMap is written.
func New(deps runner.Deps, rootCA []byte) (*runner.Controller, error) {
	namespaces, err := client.InformerFor[*corev1.Namespace](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	accounts, err := client.InformerFor[*corev1.ServiceAccount](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	configMaps, err := client.NewInformer[*corev1.ConfigMap](deps.Client, client.InformerOptions{Fields: named(rootCAName)})
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, namespaces: namespaces, accounts: accounts, configMaps: configMaps, rootCA: string(rootCA)}
	c := runner.New("serviceaccount", r, deps, runner.Options{Trace: namespaces.TraceContext, Background: configMaps.Run})
	runner.Primary(c, namespaces)
	runner.Watch(c, accounts, runner.Input[*corev1.ServiceAccount]{Keys: namespaceOf[*corev1.ServiceAccount](accountName)})
	runner.Watch(c, configMaps, runner.Input[*corev1.ConfigMap]{Keys: namespaceOf[*corev1.ConfigMap](rootCAName)})
	return c, nil
}

// namespaceOf returns the keys function for objects of one name.
func namespaceOf[T kinds.Object](name string) func(T) []string {
	return func(obj T) []string {
		if obj.GetName() != name {
			return nil
		}
		return []string{obj.GetNamespace()}
	}
}

// Reconcile creates what a namespace lacks and restores the certificate.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	ns, ok := r.namespaces.GetByKey(key)
	if !ok || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return runner.Done(), nil
	}
	if err := r.ensureAccount(ctx, key); err != nil {
		return runner.Done(), err
	}
	if r.rootCA == "" {
		return runner.Done(), nil
	}
	select {
	case <-r.configMaps.Synced():
		return runner.Done(), r.ensureRootCA(ctx, key)
	default:
		// Its objects, once they come, bring their namespaces back; those
		// without one are met by creating it right away.
		return runner.Done(), r.createRootCA(ctx, key)
	}
}

func (r *reconciler) ensureAccount(ctx context.Context, namespace string) error {
	if _, ok := r.accounts.Get(namespace, accountName); ok {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: accountName}}
	return tolerate("create the default service account", r.client.Create(ctx, account))
}

func (r *reconciler) ensureRootCA(ctx context.Context, namespace string) error {
	have, ok := r.configMaps.Get(namespace, rootCAName)
	if !ok {
		return r.createRootCA(ctx, namespace)
	}
	data := map[string]string{rootCAKey: r.rootCA}
	if maps.Equal(have.Data, data) && len(have.BinaryData) == 0 {
		return nil
	}
	restored := have.DeepCopy()
	restored.Data, restored.BinaryData = data, nil
	return tolerate("restore the root certificate", r.client.Update(ctx, restored))
}

func (r *reconciler) createRootCA(ctx context.Context, namespace string) error {
	return tolerate("publish the root certificate", r.client.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: rootCAName, Annotations: map[string]string{descriptionAnnotation: description},
		},
		Data: map[string]string{rootCAKey: r.rootCA},
	}))
}

// tolerate drops the errors that say that there is nothing left to do.
func tolerate(doing string, err error) error {
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
