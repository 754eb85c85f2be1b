package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

func isOfPods(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage:
		return true
	}
	if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
		return true
	}
	requested, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	return ok && strings.HasPrefix(requested, corev1.ResourceHugePagesPrefix) || isOfExtended(name)
}

// isOfExtended says whether a resource counts what is requested of an extended one.
func isOfExtended(name corev1.ResourceName) bool {
	requested, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	return ok && isExtended(requested)
}

// isExtended says whether a resource is not one of Kubernetes' own, such as
// example.com/gpu.
func isExtended(name string) bool {
	if strings.HasPrefix(name, "deviceclass.resource.kubernetes.io/") {
		return true
	}
	domain, _, qualified := strings.Cut(name, "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") &&
		!strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) && !strings.Contains(name, classInfix)
}

// isSpent says whether a pod counts as an object only: it has ended, or its
// node has not confirmed its end in time, and it must not keep others out.
func isSpent(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return true
	}
	end, ending := Overdue(pod)
	return ending && now.After(end)
}

// Overdue returns when a pod that is being deleted ceases to count, whatever
// becomes of it.
func Overdue(pod *corev1.Pod) (time.Time, bool) {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return time.Time{}, false
	}
	return pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second), true
}

func addPod(used corev1.ResourceList, pod *corev1.Pod) {
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	for name, amount := range resourcehelper.PodRequests(pod, options) {
		requested := corev1.ResourceName(corev1.DefaultResourceRequestsPrefix + string(name))
		switch {
		case isComputed(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name], used[requested] = amount, amount
		case isExtended(string(name)):
			used[requested] = amount
		}
	}
	for name, amount := range resourcehelper.PodLimits(pod, options) {
		if isComputed(name) {
			used[corev1.ResourceName("limits."+string(name))] = amount
		}
	}
}

func isComputed(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
}

// CheckSpecified says which containers leave out what a quota of these
// resources must know. A pod that states its resources as a whole need not
// state them per container.
func CheckSpecified(names []corev1.ResourceName, pod *corev1.Pod) error {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	var missing []string
	for _, name := range names {
		var containers []string
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			if mustSpecify(name) && !specifies(&c.Resources, name) {
				containers = append(containers, c.Name)
			}
		}
		if len(containers) > 0 {
			slices.Sort(containers)
			missing = append(missing, fmt.Sprintf("%s for: %s", name, strings.Join(containers, ",")))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("must specify %s", strings.Join(missing, "; "))
}

func mustSpecify(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory:
		return true
	}
	return false
}

func specifies(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	list := r.Requests
	bare, limits := strings.CutPrefix(string(name), "limits.")
	if limits {
		list = r.Limits
	} else {
		bare = strings.TrimPrefix(bare, corev1.DefaultResourceRequestsPrefix)
	}
	_, ok := list[corev1.ResourceName(bare)]
	return ok
}
