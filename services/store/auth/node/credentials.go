package node

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/services/store/access"
)

// checkToken: an agent's tokens are for the pods of its node and end with them,
// and are good for those whom such a pod names, so that a node cannot act
// towards others as a workload that does not deal with them.
func (g *Guard) checkToken(ctx context.Context, node string, w access.Write, t *authenticationv1.TokenRequest) error {
	ref := t.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return errors.New("node requested token not bound to a pod")
	case ref.UID == "":
		return errors.New("node requested token with a pod binding without a uid")
	case len(t.Spec.Audiences) > 1:
		return errors.New("node may only request 0 or 1 audiences")
	}
	obj, err := g.reader.Get(ctx, core("pods"), w.Namespace, ref.Name)
	if apierrors.IsNotFound(err) {
		return nil // the answer will be NotFound, which an agent needs to hear
	}
	if err != nil {
		return fmt.Errorf("look up the pod of a token: %w", err)
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName != node {
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	return g.checkAudience(ctx, w, t.Spec.Audiences, pod)
}

func (g *Guard) checkAudience(ctx context.Context, w access.Write, asked []string, pod *corev1.Pod) error {
	audience := "" // the cluster itself
	if len(asked) > 0 {
		audience = asked[0]
	}
	for i := range pod.Spec.Volumes {
		named, err := g.audiences(ctx, pod, &pod.Spec.Volumes[i])
		if err != nil {
			return err
		}
		if slices.Contains(named, audience) {
			return nil
		}
	}
	d, err := g.authorizer.Authorize(ctx, access.Attributes{
		User: w.User, Verb: "request-serviceaccounts-token-audience", Version: "v1", Resource: audience,
		Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName,
	})
	if err != nil {
		return fmt.Errorf("ask for whom a token may be: %w", err)
	}
	if audience != "" && d.Allowed && !d.Denied {
		return nil
	}
	return fmt.Errorf("audience %q not found in pod spec volume", audience)
}

// audiences are those of the tokens that a pod's volume needs.
func (g *Guard) audiences(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) ([]string, error) {
	switch {
	case v.Projected != nil:
		var named []string
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				named = append(named, source.ServiceAccountToken.Audience)
			}
		}
		return named, nil
	case v.CSI != nil:
		return g.driverAudiences(ctx, v.CSI.Driver)
	case v.PersistentVolumeClaim != nil:
		return g.claimAudiences(ctx, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		return g.claimAudiences(ctx, pod.Namespace, pod.Name+"-"+v.Name)
	}
	return nil, nil
}

func (g *Guard) claimAudiences(ctx context.Context, namespace, name string) ([]string, error) {
	obj, err := g.reader.Get(ctx, core("persistentvolumeclaims"), namespace, name)
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if err != nil || !ok || claim.Spec.VolumeName == "" {
		return nil, unlessGone(err)
	}
	obj, err = g.reader.Get(ctx, core("persistentvolumes"), "", claim.Spec.VolumeName)
	volume, ok := obj.(*corev1.PersistentVolume)
	if err != nil || !ok || volume.Spec.CSI == nil {
		return nil, unlessGone(err)
	}
	return g.driverAudiences(ctx, volume.Spec.CSI.Driver)
}

func (g *Guard) driverAudiences(ctx context.Context, name string) ([]string, error) {
	obj, err := g.reader.Get(ctx, storagev1.SchemeGroupVersion.WithResource("csidrivers"), "", name)
	driver, ok := obj.(*storagev1.CSIDriver)
	if err != nil || !ok {
		return nil, unlessGone(err)
	}
	var named []string
	for _, r := range driver.Spec.TokenRequests {
		named = append(named, r.Audience)
	}
	return named, nil
}

// unlessGone drops the error of an object that is not there: it needs nothing.
func unlessGone(err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("look up what a volume needs tokens for: %w", err)
}

// checkCertificate: an agent asks for certificates of its own node.
func checkCertificate(user string, csr *certificatesv1.CertificateSigningRequest) error {
	switch csr.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName:
	default:
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return nil // validation says what is wrong with it
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("unable to parse csr: %w", err)
	}
	if request.Subject.CommonName != user {
		return fmt.Errorf("can only create a node CSR with CN=%s", user)
	}
	return nil
}
