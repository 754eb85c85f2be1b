package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// KeepResources copies what a resize may write, the resources of the pod and
// of its containers, from what was sent to a copy of the stored pod. Containers
// that were renamed, moved, added or removed are copied as they are:
// ValidateResize tells what is wrong with them.
func KeepResources(to, sent, old *corev1.Pod) {
	if len(sent.Spec.Containers) != len(old.Spec.Containers) || len(sent.Spec.InitContainers) != len(old.Spec.InitContainers) {
		to.Spec.Containers, to.Spec.InitContainers = sent.Spec.Containers, sent.Spec.InitContainers
		return
	}
	to.Spec.Containers = resized(sent.Spec.Containers, to.Spec.Containers)
	to.Spec.InitContainers = resized(sent.Spec.InitContainers, to.Spec.InitContainers)
	if sent.Spec.Resources != nil { // a client that knows no such field does not mean to remove it
		to.Spec.Resources = sent.Spec.Resources
	}
}

// resized returns stored containers with the resources, and the policies for
// changing them, of those that were sent.
func resized(sent, stored []corev1.Container) []corev1.Container {
	for i := range sent {
		if sent[i].Name != stored[i].Name {
			return sent
		}
		stored[i].Resources, stored[i].ResizePolicy = sent[i].Resources, sent[i].ResizePolicy
	}
	return stored
}

// ValidateResize returns what a change of a pod's resources breaks (KEP-1287):
// only CPU and memory of its containers and of the pod as a whole (KEP-5419)
// may change, none may be removed, and the pod's quality-of-service class stays.
func ValidateResize(pod, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec")
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	var errs field.ErrorList
	if QOSClass(old) != ComputeQOSClass(&pod.Spec) {
		errs = append(errs, field.Invalid(at, old.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	if !reportsResources(old) {
		errs = append(errs, field.Forbidden(at, "Pod running on node without support for resize"))
	}
	rest := pod.Spec.DeepCopy()
	errs = append(errs, validatePodResize(rest, &old.Spec, at)...)
	if moved := sameContainers(&pod.Spec, &old.Spec, at); len(moved) > 0 {
		return append(errs, moved...)
	}
	errs = append(errs, validateContainersResize(rest, &old.Spec, at)...)
	if len(errs) == 0 && !equality.Semantic.DeepEqual(rest, &old.Spec) {
		errs = append(errs, field.Forbidden(at, onlyComputeMutable))
	}
	return errs
}

const onlyComputeMutable = "only cpu and memory resources are mutable"

// reportsResources says whether the pod's node tells what its containers have,
// as those do that can resize them. Nothing is known before a container runs.
func reportsResources(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

// sameContainers: a resize meets the containers that there are, in their order.
func sameContainers(spec, old *corev1.PodSpec, at *field.Path) field.ErrorList {
	list := func(name string, is, was []corev1.Container) field.ErrorList {
		path := at.Child(name)
		if len(is) != len(was) {
			return field.ErrorList{field.Forbidden(path, name+" may not be added or removed on resize")}
		}
		var errs field.ErrorList
		for i := range was {
			if is[i].Name != was[i].Name {
				errs = append(errs, field.Forbidden(path.Index(i).Child("name"), name+" may not be renamed or reordered on resize"))
			}
		}
		return errs
	}
	return append(list("containers", spec.Containers, old.Containers), list("initContainers", spec.InitContainers, old.InitContainers)...)
}

// validatePodResize checks the resources of the pod as a whole, and sets what
// may change of them back to the old values.
func validatePodResize(spec, old *corev1.PodSpec, at *field.Path) field.ErrorList {
	if !hasPodResources(spec) && !hasPodResources(old) {
		return nil
	}
	path := at.Child("resources")
	var was corev1.ResourceRequirements
	if old.Resources != nil {
		if spec.Resources == nil {
			return field.ErrorList{field.Forbidden(path, "pod-level resources cannot be removed")}
		}
		was = *old.Resources
	}
	errs := validateRemoved(spec.Resources, &was, "pod-level ", path)
	restoreCompute(spec.Resources, &was)
	if r := spec.Resources; old.Resources == nil && len(r.Requests)+len(r.Limits)+len(r.Claims) == 0 {
		spec.Resources = nil
	}
	if !equality.Semantic.DeepEqual(spec.Resources, old.Resources) {
		errs = append(errs, field.Forbidden(at, onlyComputeMutable+" at pod-level"))
	}
	return errs
}

func hasPodResources(spec *corev1.PodSpec) bool {
	return spec.Resources != nil && len(spec.Resources.Requests)+len(spec.Resources.Limits) > 0
}

// validateContainersResize checks the containers' resources, and sets what may
// change of them back to the old values.
func validateContainersResize(spec, old *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range spec.InitContainers {
		container, was := &spec.InitContainers[i], &old.InitContainers[i]
		path := at.Child("initContainers").Index(i)
		errs = append(errs, validateRemoved(&container.Resources, &was.Resources, "", path.Child("resources"))...)
		changed := !equality.Semantic.DeepEqual(container, was)
		restoreCompute(&container.Resources, &was.Resources)
		if !equality.Semantic.DeepEqual(container, was) {
			errs = append(errs, field.Forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable"))
		}
		if changed && !isSidecar(container) && restartsOnResize(container) {
			errs = append(errs, field.Forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
		}
	}
	for i := range spec.Containers {
		container, was := &spec.Containers[i], &old.Containers[i]
		errs = append(errs, validateRemoved(&container.Resources, &was.Resources, "", at.Child("containers").Index(i).Child("resources"))...)
		restoreCompute(&container.Resources, &was.Resources)
		if !equality.Semantic.DeepEqual(container, was) {
			errs = append(errs, field.Forbidden(at, onlyComputeMutable))
		}
	}
	return errs
}

func restartsOnResize(c *corev1.Container) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			return true
		}
	}
	return false
}

// validateRemoved: what was once requested or limited stays so, by whatever
// amount. level is "pod-level " for a pod as a whole.
func validateRemoved(r, was *corev1.ResourceRequirements, level string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if lacks(r.Requests, was.Requests) {
		errs = append(errs, field.Forbidden(at.Child("requests"), level+"resource requests cannot be removed"))
	}
	if lacks(r.Limits, was.Limits) {
		errs = append(errs, field.Forbidden(at.Child("limits"), level+"resource limits cannot be removed"))
	}
	return errs
}

func lacks(list, names corev1.ResourceList) bool {
	for name := range names {
		if _, ok := list[name]; !ok {
			return true
		}
	}
	return false
}

// restoreCompute sets the CPU and memory of r back to what they were.
func restoreCompute(r, was *corev1.ResourceRequirements) {
	r.Requests = withCompute(r.Requests, was.Requests)
	r.Limits = withCompute(r.Limits, was.Limits)
}

func withCompute(list, was corev1.ResourceList) corev1.ResourceList {
	out := make(corev1.ResourceList, len(list))
	for name, q := range list {
		out[name] = q
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, ok := was[name]; ok {
			out[name] = q
		}
	}
	return out
}
