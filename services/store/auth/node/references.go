package node

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"

	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/store/access"
)

// attachments: an agent waits for the attachment of volumes to its node.
func (z *Authorizer) attachments(ctx context.Context, r request) (access.Decision, error) {
	if !r.reads() || r.objectName() == "" {
		return refuse("can only read volume attachments by name")
	}
	obj, err := z.reader.Get(ctx, storagev1.SchemeGroupVersion.WithResource("volumeattachments"), "", r.objectName())
	if err != nil {
		return access.Decision{}, err
	}
	attachment, ok := obj.(*storagev1.VolumeAttachment)
	return when(ok && attachment.Spec.NodeName == r.node, r)
}

// isMirror says whether a pod only shows a static pod of a node. Its author is
// the node, so what it refers to is not the node's to read.
func isMirror(p *corev1.Pod) bool {
	_, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

func refersToSecret(p *corev1.Pod, name string) bool {
	if isMirror(p) {
		return false
	}
	for _, ref := range p.Spec.ImagePullSecrets {
		if ref.Name == name {
			return true
		}
	}
	return inContainers(p, func(from *corev1.EnvFromSource) bool {
		return from.SecretRef != nil && from.SecretRef.Name == name
	}, func(env *corev1.EnvVarSource) bool {
		return env.SecretKeyRef != nil && env.SecretKeyRef.Name == name
	}) || slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return volumeUsesSecret(&v, name) })
}

func volumeUsesSecret(v *corev1.Volume, name string) bool {
	switch {
	case v.Secret != nil:
		return v.Secret.SecretName == name
	case v.Projected != nil:
		return slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.Secret != nil && s.Secret.Name == name
		})
	case v.CSI != nil:
		return v.CSI.NodePublishSecretRef != nil && v.CSI.NodePublishSecretRef.Name == name
	case v.ISCSI != nil:
		return v.ISCSI.SecretRef != nil && v.ISCSI.SecretRef.Name == name
	case v.RBD != nil:
		return v.RBD.SecretRef != nil && v.RBD.SecretRef.Name == name
	case v.CephFS != nil:
		return v.CephFS.SecretRef != nil && v.CephFS.SecretRef.Name == name
	}
	return false
}

func refersToConfigMap(p *corev1.Pod, name string) bool {
	if isMirror(p) {
		return false
	}
	// Every pod of a namespace trusts the cluster by this one.
	if name == "kube-root-ca.crt" {
		return true
	}
	return inContainers(p, func(from *corev1.EnvFromSource) bool {
		return from.ConfigMapRef != nil && from.ConfigMapRef.Name == name
	}, func(env *corev1.EnvVarSource) bool {
		return env.ConfigMapKeyRef != nil && env.ConfigMapKeyRef.Name == name
	}) || slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return volumeUsesConfigMap(&v, name) })
}

func volumeUsesConfigMap(v *corev1.Volume, name string) bool {
	switch {
	case v.ConfigMap != nil:
		return v.ConfigMap.Name == name
	case v.Projected != nil:
		return slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ConfigMap != nil && s.ConfigMap.Name == name
		})
	}
	return false
}

// keeps says whether a volume is one of those that a node keeps itself.
func keeps(node string, pv *corev1.PersistentVolume) bool {
	return localpath.Provisioned(pv) && pv.Labels[localpath.NodeLabel] == node
}

func refersToClaim(p *corev1.Pod, name string) bool {
	return !isMirror(p) && slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		if v.PersistentVolumeClaim != nil {
			return v.PersistentVolumeClaim.ClaimName == name
		}
		return v.Ephemeral != nil && p.Name+"-"+v.Name == name
	})
}

// refersToDevices says whether a pod refers to a claim of devices, by name, by
// a template from which it was made, or by its extended resources.
func refersToDevices(p *corev1.Pod, name string) bool {
	if isMirror(p) {
		return false
	}
	if e := p.Status.ExtendedResourceClaimStatus; e != nil && e.ResourceClaimName == name {
		return true
	}
	return slices.ContainsFunc(p.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool {
		return c.ResourceClaimName != nil && *c.ResourceClaimName == name
	}) || slices.ContainsFunc(p.Status.ResourceClaimStatuses, func(s corev1.PodResourceClaimStatus) bool {
		return s.ResourceClaimName != nil && *s.ResourceClaimName == name
	})
}

// slices: an agent, and the drivers that act through it, publish the devices of
// the node. The Guard checks that what is created is the node's.
func (z *Authorizer) slices(ctx context.Context, r request) (access.Decision, error) {
	switch {
	case r.Subresource != "":
		return refuse("agents may not %s resourceslices/%s", r.Verb, r.Subresource)
	case r.Verb == "create":
		return yes(), nil
	case slices.Contains([]string{"list", "watch", "deletecollection"}, r.Verb):
		if r.selected(resourcev1.ResourceSliceSelectorNodeName) == r.node {
			return yes(), nil
		}
		return refuse("can only list/watch/deletecollection resourceslices with nodeName field selector")
	case !slices.Contains([]string{"get", "update", "patch", "delete"}, r.Verb):
		return refuse("agents may not %s resourceslices", r.Verb)
	}
	obj, err := z.reader.Get(ctx, resourcev1.SchemeGroupVersion.WithResource("resourceslices"), "", r.Name)
	if err != nil {
		return access.Decision{}, err
	}
	slice, ok := obj.(*resourcev1.ResourceSlice)
	return when(ok && ofNode(slice, r.node), r)
}

func ofNode(s *resourcev1.ResourceSlice, node string) bool {
	return s.Spec.NodeName != nil && *s.Spec.NodeName == node
}

// inContainers says whether the environment of any container satisfies one of
// the checks.
func inContainers(p *corev1.Pod, from func(*corev1.EnvFromSource) bool, env func(*corev1.EnvVarSource) bool) bool {
	check := func(c *corev1.Container) bool {
		for i := range c.EnvFrom {
			if from(&c.EnvFrom[i]) {
				return true
			}
		}
		for i := range c.Env {
			if c.Env[i].ValueFrom != nil && env(c.Env[i].ValueFrom) {
				return true
			}
		}
		return false
	}
	for i := range p.Spec.InitContainers {
		if check(&p.Spec.InitContainers[i]) {
			return true
		}
	}
	for i := range p.Spec.Containers {
		if check(&p.Spec.Containers[i]) {
			return true
		}
	}
	for i := range p.Spec.EphemeralContainers {
		c := corev1.Container(p.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if check(&c) {
			return true
		}
	}
	return false
}
