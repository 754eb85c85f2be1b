package objects

import corev1 "k8s.io/api/core/v1"

// Of returns every ConfigMap, Secret and ClusterTrustBundle that a pod refers to:
// in volumes, environments and image pull secrets.
func Of(pod *corev1.Pod) []Ref {
	refs := &collector{namespace: pod.Namespace}
	for i := range pod.Spec.Volumes {
		refs.volume(&pod.Spec.Volumes[i])
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		refs.secret(s.Name)
	}
	for i := range pod.Spec.InitContainers {
		refs.container(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		refs.container(&pod.Spec.Containers[i])
	}
	return refs.all
}

type collector struct {
	namespace string
	all       []Ref
}

func (c *collector) configMap(name string) {
	if name != "" {
		c.all = append(c.all, ConfigMap(c.namespace, name))
	}
}

func (c *collector) secret(name string) {
	if name != "" {
		c.all = append(c.all, Secret(c.namespace, name))
	}
}

func (c *collector) volume(v *corev1.Volume) {
	if v.ConfigMap != nil {
		c.configMap(v.ConfigMap.Name)
	}
	if v.Secret != nil {
		c.secret(v.Secret.SecretName)
	}
	if v.Projected == nil {
		return
	}
	for _, s := range v.Projected.Sources {
		if s.ConfigMap != nil {
			c.configMap(s.ConfigMap.Name)
		}
		if s.Secret != nil {
			c.secret(s.Secret.Name)
		}
		if s.ClusterTrustBundle != nil {
			c.all = append(c.all, TrustBundles(s.ClusterTrustBundle))
		}
	}
}

func (c *collector) container(ctr *corev1.Container) {
	for _, from := range ctr.EnvFrom {
		if from.ConfigMapRef != nil {
			c.configMap(from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			c.secret(from.SecretRef.Name)
		}
	}
	for _, e := range ctr.Env {
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			c.configMap(e.ValueFrom.ConfigMapKeyRef.Name)
		}
		if e.ValueFrom.SecretKeyRef != nil {
			c.secret(e.ValueFrom.SecretKeyRef.Name)
		}
	}
}
