package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// podResources: what is set aside for a whole pod covers what its containers
// ask for.
func (c podCheck) podResources(at *field.Path) field.ErrorList {
	r := c.spec.Resources
	if r == nil {
		return nil
	}
	path := at.Child("resources")
	errs := validateAmounts(r, podResourceName, path)
	if len(r.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims cannot be set for Resources at pod-level"))
	}
	asked := requestsOf(c.spec)
	errs = append(errs, rule.EachKey(r.Requests, path.Child("requests"), func(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		total := asked[name]
		if total.Cmp(q) <= 0 {
			return nil
		}
		return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", total.String()))}
	})...)
	within := func(container *corev1.Container, at *field.Path) field.ErrorList {
		return rule.EachKey(container.Resources.Limits, at.Child("resources", "limits"), func(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
			limit, limited := r.Limits[name]
			if !limited || q.Cmp(limit) <= 0 {
				return nil
			}
			return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", limit.String()))}
		})
	}
	return rule.Join(errs,
		rule.Each(c.spec.Containers, at.Child("containers"), within),
		rule.Each(c.spec.InitContainers, at.Child("initContainers"), within))
}

func podResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	if isHugePages(name) {
		return nil
	}
	return rule.Supported(name, at, corev1.ResourceCPU, corev1.ResourceHugePagesPrefix, corev1.ResourceMemory)
}

// requestsOf is what a pod's containers ask for at the most demanding moment:
// either all regular containers and sidecars, or one init container and the
// sidecars that began before it.
func requestsOf(spec *corev1.PodSpec) corev1.ResourceList {
	total, sidecars, starting := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for i := range spec.Containers {
		add(total, spec.Containers[i].Resources.Requests)
	}
	for i := range spec.InitContainers {
		container := &spec.InitContainers[i]
		moment := sidecars.DeepCopy()
		add(moment, container.Resources.Requests)
		if isSidecar(container) {
			add(total, container.Resources.Requests)
			sidecars = moment
		}
		raise(starting, moment)
	}
	raise(total, starting)
	return total
}

func add(to, more corev1.ResourceList) {
	for name, q := range more {
		sum := to[name]
		sum.Add(q)
		to[name] = sum
	}
}

func raise(to, at corev1.ResourceList) {
	for name, q := range at {
		if have := to[name]; q.Cmp(have) > 0 {
			to[name] = q
		}
	}
}
