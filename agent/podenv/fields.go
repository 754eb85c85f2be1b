// Package podenv makes the environment of containers: variables from values,
// fields, resources, ConfigMaps, Secrets and Services, and the expansion of
// $(NAME) in them, in commands and in arguments.
package podenv

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubectl/pkg/util/fieldpath"
	kubectlresource "k8s.io/kubectl/pkg/util/resource"
)

// Field returns the value of a field of a pod, as fieldRef names it.
func Field(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return pod.Status.HostIP, nil
	case "status.hostIPs":
		ips := make([]string, 0, len(pod.Status.HostIPs))
		for _, ip := range pod.Status.HostIPs {
			ips = append(ips, ip.IP)
		}
		return join(ips), nil
	case "status.podIP":
		return pod.Status.PodIP, nil
	case "status.podIPs":
		ips := make([]string, 0, len(pod.Status.PodIPs))
		for _, ip := range pod.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		return join(ips), nil
	}
	value, err := fieldpath.ExtractFieldPathAsString(pod, path)
	if err != nil {
		return "", fmt.Errorf("field %q: %w", path, err)
	}
	return value, nil
}

func join(ips []string) string {
	out := ""
	for i, ip := range ips {
		if i > 0 {
			out += ","
		}
		out += ip
	}
	return out
}

// Resource returns a container's limit or request, as resourceFieldRef names
// it. self is the container that asks, for references that name none. A limit
// that is not set is the pod's or, if that has none, the node's allocatable amount.
func Resource(pod *corev1.Pod, self *corev1.Container, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	c := self
	if ref.ContainerName != "" {
		if c = Find(pod, ref.ContainerName); c == nil {
			return "", fmt.Errorf("resource %q: there is no container %q", ref.Resource, ref.ContainerName)
		}
	}
	if c == nil {
		return "", fmt.Errorf("resource %q: no container is named", ref.Resource)
	}
	c = c.DeepCopy()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := c.Resources.Limits[name]; ok && !q.IsZero() {
			continue
		}
		if c.Resources.Limits == nil {
			c.Resources.Limits = make(map[corev1.ResourceName]resource.Quantity)
		}
		c.Resources.Limits[name] = limitOfAll(pod, name, allocatable)
	}
	value, err := kubectlresource.ExtractContainerResourceValue(ref, c)
	if err != nil {
		return "", fmt.Errorf("resource %q: %w", ref.Resource, err)
	}
	return value, nil
}

// limitOfAll returns how much the containers that have no limit may use.
func limitOfAll(pod *corev1.Pod, name corev1.ResourceName, allocatable corev1.ResourceList) resource.Quantity {
	if r := pod.Spec.Resources; r != nil && name != corev1.ResourceEphemeralStorage {
		if q, ok := r.Limits[name]; ok && !q.IsZero() {
			return q
		}
	}
	return allocatable[name]
}

// Find returns a pod's container by its name, nil if there is none.
func Find(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}
