package certificates

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// apiSigner is the name of whoever signs the certificates that the cluster's
// API is served with.
const apiSigner = "kubernetes.io/kube-apiserver-serving"

type publishing struct {
	client  *client.Client
	bundles *client.Informer[*certificatesv1.ClusterTrustBundle]
	name    string
	rootCA  string
}

// NewPublishing returns the controller that publishes, as a ClusterTrustBundle,
// by which authority the cluster's API is known. rootCA is a PEM bundle. Its key
// names the bundle, which is named for its content: who has read a bundle has
// read all of one version.
func NewPublishing(deps runner.Deps, rootCA []byte) (*runner.Controller, error) {
	bundles, err := client.NewInformer[*certificatesv1.ClusterTrustBundle](deps.Client, client.InformerOptions{
		Fields: fields.OneTermEqualSelector("spec.signerName", apiSigner),
	})
	if err != nil {
		return nil, err
	}
	r := &publishing{client: deps.Client, bundles: bundles, name: bundleName(rootCA), rootCA: string(rootCA)}
	var c *runner.Controller
	c = runner.New("trustbundlepublishing", r, deps, runner.Options{Trace: bundles.TraceContext, Background: func(ctx context.Context) {
		go func() {
			select {
			case <-bundles.Synced():
				c.Enqueue(r.name)
			case <-ctx.Done():
			}
		}()
		bundles.Run(ctx)
	}})
	runner.Watch(c, bundles, runner.Input[*certificatesv1.ClusterTrustBundle]{
		Keys: func(*certificatesv1.ClusterTrustBundle) []string { return []string{r.name} },
	})
	return c, nil
}

func bundleName(content []byte) string {
	hash := sha256.Sum256(content)
	return fmt.Sprintf("%s:%x", strings.ReplaceAll(apiSigner, "/", ":"), hash[:12])
}

// Reconcile writes the bundle, and then removes those of other authorities.
func (r *publishing) Reconcile(ctx context.Context, name string) (runner.Outcome, error) {
	select {
	case <-r.bundles.Synced():
	default:
		return runner.Done(), nil // it is called again then
	}
	if err := r.publish(ctx, name); err != nil {
		return runner.Done(), fmt.Errorf("publish the authority of the API: %w", err)
	}
	var errs []error
	for _, old := range r.bundles.List() {
		if old.Name == name || old.DeletionTimestamp != nil {
			continue
		}
		if err := r.client.Delete(ctx, old, client.DeleteOptions{UID: old.UID}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove the trust bundle %s: %w", old.Name, err))
		}
	}
	return runner.Done(), errors.Join(errs...)
}

func (r *publishing) publish(ctx context.Context, name string) error {
	have, ok := r.bundles.Get("", name)
	if !ok {
		return r.client.Create(ctx, &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: apiSigner, TrustBundle: r.rootCA},
		})
	}
	if have.Spec.TrustBundle == r.rootCA {
		return nil
	}
	restored := have.DeepCopy()
	restored.Spec.TrustBundle = r.rootCA
	return r.client.Update(ctx, restored)
}
