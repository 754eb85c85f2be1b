package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
)

// restrictedLabel marks labels that administrators use to keep pods away from
// nodes they do not trust; a node may not set them on itself.
const restrictedLabel = "node-restriction.kubernetes.io/"

// CheckWrite refuses what an agent writes if its content is not the agent's to
// write: another node's object, a pod that is no mirror of a static one, the
// labels and taints by which administrators fence nodes off. old is nil for
// a creation.
func CheckWrite(user identity.Identity, kind *kinds.Kind, subresource string, obj, old kinds.Object) error {
	name, ok := user.NodeName()
	if !ok || obj == nil {
		return nil
	}
	err := checkContent(name, subresource, obj, old)
	if err == nil {
		return nil
	}
	return apierrors.NewForbidden(kind.GroupResource(), obj.GetName(), err)
}

func checkContent(node, subresource string, obj, old kinds.Object) error {
	switch o := obj.(type) {
	case *corev1.Node:
		was, _ := old.(*corev1.Node)
		return checkNode(node, o, was)
	case *corev1.Pod:
		if old == nil && subresource == "" {
			return checkMirror(node, o)
		}
	case *coordinationv1.Lease, *storagev1.CSINode:
		if obj.GetName() != node {
			return fmt.Errorf("node %q is not allowed to write %s of another node", node, obj.GetName())
		}
	case *corev1.PersistentVolume:
		was, _ := old.(*corev1.PersistentVolume)
		return checkVolume(node, o, was)
	case *authenticationv1.TokenRequest:
		return checkToken(o)
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

func checkNode(node string, n, old *corev1.Node) error {
	if n.Name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, n.Name)
	}
	if old == nil {
		if label := changedLabel(n.Labels, nil); label != "" {
			return fmt.Errorf("node %q is not allowed to set the label %s", node, label)
		}
		return nil
	}
	if label := changedLabel(n.Labels, old.Labels); label != "" {
		return fmt.Errorf("node %q is not allowed to modify the label %s", node, label)
	}
	if !equality.Semantic.DeepEqual(n.Spec.Taints, old.Spec.Taints) {
		return fmt.Errorf("node %q is not allowed to modify taints", node)
	}
	return nil
}

func changedLabel(labels, old map[string]string) string {
	keys := slices.Sorted(maps.Keys(labels))
	keys = slices.AppendSeq(keys, maps.Keys(old))
	for _, key := range keys {
		prefix, _, _ := strings.Cut(key, "/")
		restricted := prefix+"/" == restrictedLabel || strings.HasSuffix(prefix, "."+strings.TrimSuffix(restrictedLabel, "/"))
		if value, has := labels[key]; restricted && (value != old[key] || !has) {
			return key
		}
	}
	return ""
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
	case len(p.Spec.ImagePullSecrets) > 0 || slices.ContainsFunc(p.Spec.Volumes, refersToObject):
		return fmt.Errorf("node %q can not create pods that reference secrets, configmaps or persistentvolumeclaims", node)
	}
	from := func(e *corev1.EnvFromSource) bool { return e.SecretRef != nil || e.ConfigMapRef != nil }
	env := func(e *corev1.EnvVarSource) bool { return e.SecretKeyRef != nil || e.ConfigMapKeyRef != nil }
	if inContainers(p, from, env) {
		return fmt.Errorf("node %q can not create pods that reference secrets or configmaps", node)
	}
	for _, owner := range p.OwnerReferences {
		if owner.Kind != "Node" || owner.Name != node {
			return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
		}
	}
	return nil
}

func refersToObject(v corev1.Volume) bool {
	return v.Secret != nil || v.ConfigMap != nil || v.PersistentVolumeClaim != nil || v.Ephemeral != nil || v.CSI != nil || v.Projected != nil
}

// checkToken: an agent's tokens end with the pod that they are for.
func checkToken(t *authenticationv1.TokenRequest) error {
	if ref := t.Spec.BoundObjectRef; ref == nil || ref.Kind != "Pod" || ref.Name == "" || ref.UID == "" {
		return errors.New("node requested token not bound to a pod")
	}
	return nil
}
