package devices

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
)

// ByResource returns the classes that stand for extended resources: every one for
// the resource that has its name behind a prefix, and for the one that it names
// (spec.extendedResourceName). Where several name one, it is the newest, which
// takes over from the others. See https://kep.k8s.io/5004
func ByResource(classes []*resourcev1.DeviceClass) map[corev1.ResourceName]*resourcev1.DeviceClass {
	out := make(map[corev1.ResourceName]*resourcev1.DeviceClass, len(classes))
	for _, class := range classes {
		out[corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix+class.Name)] = class
		if named := class.Spec.ExtendedResourceName; named != nil {
			name := corev1.ResourceName(*named)
			if have := out[name]; have == nil || precedes(class, have) {
				out[name] = class
			}
		}
	}
	return out
}

func precedes(a, b *resourcev1.DeviceClass) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return b.CreationTimestamp.Before(&a.CreationTimestamp)
}

// RequestsFor returns what a claim asks for that has the devices for a pod's
// extended resources, of the classes that stand for them, and which of the
// requests each container uses.
//
// Containers that run side by side have requests of their own. Those that run
// before them, one after the other, use the devices of containers that come later,
// and have together what the most demanding of them needs beyond these.
func RequestsFor(pod *corev1.Pod, classes map[corev1.ResourceName]*resourcev1.DeviceClass) ([]resourcev1.DeviceRequest, []corev1.ContainerExtendedResourceRequest) {
	var requests []resourcev1.DeviceRequest
	var uses []corev1.ContainerExtendedResourceRequest
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		r := &resourceRequests{resource: name, class: classes[name].Name, containers: slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)}
		r.add(len(pod.Spec.InitContainers))
		requests, uses = append(requests, r.requests()...), append(uses, r.uses...)
	}
	slices.SortFunc(requests, func(a, b resourcev1.DeviceRequest) int { return cmp.Compare(a.Name, b.Name) })
	return requests, uses
}

// resourceRequests are the requests for one resource.
type resourceRequests struct {
	resource   corev1.ResourceName
	class      string
	containers []corev1.Container
	// lasting are the requests of containers that run side by side, by container,
	// brief the one that the others share.
	lasting []*resourcev1.DeviceRequest
	brief   *resourcev1.DeviceRequest
	uses    []corev1.ContainerExtendedResourceRequest
}

// add makes the requests. The first containers are the init containers.
func (r *resourceRequests) add(inits int) {
	r.lasting = make([]*resourcev1.DeviceRequest, len(r.containers))
	for i := range r.containers {
		if n := r.wanted(i); n > 0 && !isBrief(&r.containers[i], i < inits) {
			r.lasting[i] = r.request(i, n)
			r.use(i, r.lasting[i].Name)
		}
	}
	var own []int // containers that use the shared request
	for i := range r.containers {
		n := r.wanted(i)
		if n == 0 || !isBrief(&r.containers[i], i < inits) {
			continue
		}
		for _, later := range r.lasting[i:] {
			if later != nil && n > 0 {
				r.use(i, later.Name)
				n -= later.Exactly.Count
			}
		}
		if n <= 0 {
			continue
		}
		own = append(own, i)
		if r.brief == nil || n > r.brief.Exactly.Count {
			r.brief = r.request(i, n)
		}
	}
	for _, i := range own {
		r.use(i, r.brief.Name)
	}
}

// isBrief says whether a container ends before those that come after it begin.
func isBrief(c *corev1.Container, isInit bool) bool {
	return isInit && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways)
}

// wanted is how many devices a container asks for.
func (r *resourceRequests) wanted(i int) int64 {
	q := r.containers[i].Resources.Requests[r.resource]
	return q.Value()
}

// request makes a request whose name says which container's and, of its
// resources, which it is.
func (r *resourceRequests) request(i int, n int64) *resourcev1.DeviceRequest {
	at := slices.Index(slices.Sorted(maps.Keys(r.containers[i].Resources.Requests)), r.resource)
	return &resourcev1.DeviceRequest{Name: fmt.Sprintf("container-%d-request-%d", i, at), Exactly: &resourcev1.ExactDeviceRequest{
		DeviceClassName: r.class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n,
	}}
}

func (r *resourceRequests) use(i int, request string) {
	r.uses = append(r.uses, corev1.ContainerExtendedResourceRequest{
		ContainerName: r.containers[i].Name, ResourceName: string(r.resource), RequestName: request,
	})
}

func (r *resourceRequests) requests() (out []resourcev1.DeviceRequest) {
	for _, one := range append([]*resourcev1.DeviceRequest{r.brief}, r.lasting...) {
		if one != nil {
			out = append(out, *one)
		}
	}
	return out
}
