package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/store/access"
)

// restrictedDomain is that of labels by which administrators keep pods away
// from nodes they do not trust; a node may not set them on itself.
const restrictedDomain = "node-restriction.kubernetes.io"

// Guard refuses what agents may not write. It lets everybody else's pass.
type Guard struct {
	reader access.Reader
	// authorizer says which audiences an agent may get tokens for, and of which
	// signers certificates, beyond those that its pods name.
	authorizer access.Authorizer
}

// NewGuard returns a Guard that looks up pods through reader.
func NewGuard(reader access.Reader, authorizer access.Authorizer) *Guard {
	return &Guard{reader: reader, authorizer: authorizer}
}

// CheckWrite refuses what an agent writes if its content is not the agent's to
// write: another node's object, a pod that is no mirror of a static one, the
// labels and taints by which administrators fence nodes off. old is nil for
// a creation.
func (g *Guard) CheckWrite(ctx context.Context, w access.Write) error {
	name, ok := w.User.NodeName()
	if !ok || w.Object == nil {
		return nil
	}
	err := g.checkContent(ctx, name, w)
	if err == nil {
		return nil
	}
	if _, later := errors.AsType[staleError](err); later {
		return apierrors.NewConflict(w.Kind.GroupResource(), w.Object.GetName(), err)
	}
	return apierrors.NewForbidden(w.Kind.GroupResource(), w.Object.GetName(), err)
}

func (g *Guard) checkContent(ctx context.Context, node string, w access.Write) error {
	obj, old := w.Object, w.Old
	switch o := obj.(type) {
	case *corev1.Node:
		was, _ := old.(*corev1.Node)
		return checkNode(node, o, was)
	case *corev1.Pod:
		if old == nil && w.Subresource == "" {
			return checkMirror(node, o)
		}
	case *coordinationv1.Lease, *storagev1.CSINode:
		if obj.GetName() != node {
			return fmt.Errorf("node %q is not allowed to write %s of another node", node, obj.GetName())
		}
	case *corev1.PersistentVolume:
		was, _ := old.(*corev1.PersistentVolume)
		return checkVolume(node, o, was)
	case *corev1.PersistentVolumeClaim:
		was, _ := old.(*corev1.PersistentVolumeClaim)
		return checkClaim(node, o, was)
	case *resourcev1.ResourceSlice:
		if !ofNode(o, node) {
			return errors.New("can only create ResourceSlice with the same NodeName as the requesting node")
		}
	case *authenticationv1.TokenRequest:
		return g.checkToken(ctx, node, w, o)
	case *certificatesv1.CertificateSigningRequest:
		if old == nil {
			return checkCertificate(w.User.Name, o)
		}
	case *certificatesv1.PodCertificateRequest:
		if old != nil {
			return errors.New("may only create PodCertificateRequests")
		}
		return g.checkPodCertificate(ctx, node, w, o)
	}
	return nil
}

// checkVolume: of a deleted volume that it keeps, an agent takes its finalizer
// off, which says that the data are gone.
func checkVolume(node string, pv, old *corev1.PersistentVolume) error {
	if old == nil || !keeps(node, old) || old.DeletionTimestamp == nil {
		return fmt.Errorf("node %q can only modify deleted volumes that it keeps", node)
	}
	released := slices.DeleteFunc(slices.Clone(old.Finalizers), func(f string) bool { return f == localpath.Finalizer })
	if !slices.Equal(pv.Finalizers, released) || !maps.Equal(pv.Labels, old.Labels) || !maps.Equal(pv.Annotations, old.Annotations) ||
		!equality.Semantic.DeepEqual(pv.Spec, old.Spec) || !equality.Semantic.DeepEqual(pv.OwnerReferences, old.OwnerReferences) {
		return fmt.Errorf("node %q can only take the finalizer %s off volume %q", node, localpath.Finalizer, old.Name)
	}
	return nil
}

// checkClaim: an agent that has made a volume's filesystem larger tells so in the
// claim's status, and nothing else.
func checkClaim(node string, claim, old *corev1.PersistentVolumeClaim) error {
	if old == nil {
		return fmt.Errorf("node %q is not allowed to create claims", node)
	}
	claim, old = claim.DeepCopy(), old.DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{claim, old} {
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil
	}
	if !equality.Semantic.DeepEqual(claim, old) {
		return fmt.Errorf("node %q is not allowed to update fields other than the capacity and conditions of claim %q", node, old.Name)
	}
	return nil
}

func checkNode(node string, n, old *corev1.Node) error {
	if n.Name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, n.Name)
	}
	if old == nil {
		if labels := refusedLabels(n.Labels, nil); len(labels) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(labels, ", "))
		}
		return nil
	}
	if labels := refusedLabels(n.Labels, old.Labels); len(labels) > 0 {
		return fmt.Errorf("node %q is not allowed to modify labels: %s", node, strings.Join(labels, ", "))
	}
	if !equality.Semantic.DeepEqual(n.Spec.Taints, old.Spec.Taints) {
		return fmt.Errorf("node %q is not allowed to modify taints", node)
	}
	// Whoever owns the Node decides when the garbage collector removes it.
	if !equality.Semantic.DeepEqual(n.OwnerReferences, old.OwnerReferences) {
		return fmt.Errorf("node %q is not allowed to modify ownerReferences", node)
	}
	return nil
}

// refusedLabels are those that differ between labels and old though nodes may
// not write them, in order.
func refusedLabels(labels, old map[string]string) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(labels)), maps.Keys(old))
	keys = slices.DeleteFunc(keys, func(key string) bool {
		value, has := labels[key]
		was, had := old[key]
		return has == had && value == was || mayLabel(key)
	})
	slices.Sort(keys)
	return slices.Compact(keys)
}

// mayLabel says whether a node may write a label: Kubernetes' own only where
// they tell of the node itself, those of restrictedDomain never.
func mayLabel(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	if !ok {
		return true
	}
	if within(prefix, restrictedDomain) {
		return false
	}
	if !within(prefix, "kubernetes.io") && !within(prefix, "k8s.io") {
		return true
	}
	return within(prefix, "kubelet.kubernetes.io") || within(prefix, "node.kubernetes.io") || slices.Contains([]string{
		corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, corev1.LabelInstanceTypeStable,
		corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	}, key)
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// checkMirror: a mirror pod shows what runs anyway. It must not refer to
// anything, or a node could read every secret by mirroring a pod that does.
func checkMirror(node string, p *corev1.Pod) error {
	switch {
	case !isMirror(p):
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	case p.Spec.NodeName != node:
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
	case p.Spec.ServiceAccountName != "":
		return fmt.Errorf("node %q can not create pods that reference a service account", node)
	case len(p.Spec.ResourceClaims) > 0:
		return fmt.Errorf("node %q can not create pods that reference resourceclaims", node)
	case len(p.Spec.ImagePullSecrets) > 0 || slices.ContainsFunc(p.Spec.Volumes, refersToObject):
		return fmt.Errorf("node %q can not create pods that reference secrets, configmaps or persistentvolumeclaims", node)
	}
	from := func(e *corev1.EnvFromSource) bool { return e.SecretRef != nil || e.ConfigMapRef != nil }
	env := func(e *corev1.EnvVarSource) bool { return e.SecretKeyRef != nil || e.ConfigMapKeyRef != nil }
	if inContainers(p, from, env) {
		return fmt.Errorf("node %q can not create pods that reference secrets or configmaps", node)
	}
	return checkMirrorOwner(node, p.OwnerReferences)
}

func checkMirrorOwner(node string, owners []metav1.OwnerReference) error {
	if len(owners) > 1 {
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node)
	}
	for _, owner := range owners {
		switch {
		case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
			return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
		case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
			return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node)
		}
	}
	return nil
}

func refersToObject(v corev1.Volume) bool {
	return v.Secret != nil || v.ConfigMap != nil || v.PersistentVolumeClaim != nil || v.Ephemeral != nil || v.CSI != nil || v.Projected != nil
}
