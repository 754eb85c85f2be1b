package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// certificates: an agent asks for certificates of its pods and sees what becomes
// of that. The Guard checks what it asks for.
func (z *Authorizer) certificates(ctx context.Context, r request) (access.Decision, error) {
	if r.Subresource != "" {
		return refuse("nodes may not access the %s subresource of PodCertificateRequests", r.Subresource)
	}
	switch r.Verb {
	case "create":
		return yes(), nil
	case "get":
		obj, err := z.reader.Get(ctx, certificatesv1.SchemeGroupVersion.WithResource("podcertificaterequests"), r.Namespace, r.Name)
		if err != nil {
			return access.Decision{}, err
		}
		asked, ok := obj.(*certificatesv1.PodCertificateRequest)
		return when(ok && string(asked.Spec.NodeName) == r.node, r)
	case "list", "watch":
		if r.selected("spec.nodeName") == r.node {
			return yes(), nil
		}
		return refuse("can only list/watch podcertificaterequests with nodeName field selector")
	}
	return refuse("nodes may not %s podcertificaterequests", r.Verb)
}

// staleError says that what an agent asks for does not fit what is stored now,
// though it may once the agent, or the Store, has heard of the latest.
type staleError struct{ error }

// checkPodCertificate: an agent asks for certificates in the name of a pod that
// runs on its node, for the account that the pod runs as, of signers that the pod
// names.
func (g *Guard) checkPodCertificate(ctx context.Context, node string, w access.Write, r *certificatesv1.PodCertificateRequest) error {
	spec := &r.Spec
	if string(spec.NodeName) != node {
		return fmt.Errorf("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", spec.NodeName, node)
	}
	if _, err := g.named(ctx, "nodes", "", node, spec.NodeUID); err != nil {
		return err
	}
	obj, err := g.named(ctx, "pods", w.Namespace, spec.PodName, spec.PodUID)
	if err != nil {
		return err
	}
	pod, ok := obj.(*corev1.Pod)
	switch {
	case !ok || pod.Spec.NodeName != node:
		return fmt.Errorf("pod %q is not running on node %q named in the PodCertificateRequest", w.Namespace+"/"+spec.PodName, node)
	case isMirror(pod):
		return fmt.Errorf("pod %q is a mirror pod", w.Namespace+"/"+spec.PodName)
	case spec.ServiceAccountName != pod.Spec.ServiceAccountName:
		return fmt.Errorf("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)",
			w.Namespace+"/"+spec.PodName, spec.ServiceAccountName, pod.Spec.ServiceAccountName)
	}
	if _, err := g.named(ctx, "serviceaccounts", w.Namespace, spec.ServiceAccountName, spec.ServiceAccountUID); err != nil {
		return err
	}
	return g.checkPodSigner(ctx, w, pod, spec.SignerName)
}

// named returns an object that a request for a certificate names, which must be
// the one with the uid.
func (g *Guard) named(ctx context.Context, resource, namespace, name string, uid types.UID) (kinds.Object, error) {
	obj, err := g.reader.Get(ctx, core(resource), namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, staleError{fmt.Errorf("look up what the PodCertificateRequest names: %w", err)}
	}
	if err != nil {
		return nil, fmt.Errorf("look up what the PodCertificateRequest names: %w", err)
	}
	if obj.GetUID() != uid {
		return nil, staleError{fmt.Errorf("PodCertificateRequest names the uid %q of %s %q, which has the uid %q", uid, resource, name, obj.GetUID())}
	}
	return obj, nil
}

// checkPodSigner: beyond those that a pod's volumes name, an agent may be allowed
// signers for the drivers of volumes that deal with them.
func (g *Guard) checkPodSigner(ctx context.Context, w access.Write, pod *corev1.Pod, signer string) error {
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.PodCertificate != nil && s.PodCertificate.SignerName == signer
		})
	}) {
		return nil
	}
	d, err := g.authorizer.Authorize(ctx, access.Attributes{
		User: w.User, Verb: "request-serviceaccounts-podcertificate-signer", Group: w.Kind.Group, Version: w.Kind.Version,
		// A resource has no slash; ClusterTrustBundles name signers in the same way.
		Resource: strings.ReplaceAll(signer, "/", ":"), Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName,
	})
	if d.Allowed && !d.Denied {
		return nil
	}
	return errors.Join(err, fmt.Errorf("pod %q does not mount a podCertificate projected volume for signer %q", pod.Namespace+"/"+pod.Name, signer))
}
