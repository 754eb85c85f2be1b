package podsecurity

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// offenders are the parts of a pod that break a rule, and the values they
// break it with.
type offenders struct {
	pod        bool
	containers []string
	values     map[string]bool
}

func (o *offenders) any() bool { return o.pod || len(o.containers) > 0 }

// with notes a value.
func (o *offenders) with(value string) {
	if o.values == nil {
		o.values = make(map[string]bool)
	}
	o.values[value] = true
}

func (o *offenders) sortedValues() []string { return slices.Sorted(maps.Keys(o.values)) }

// String returns for example `pod and containers "a", "b"`.
func (o *offenders) String() string {
	var parts []string
	if o.pod {
		parts = append(parts, "pod")
	}
	if len(o.containers) > 0 {
		parts = append(parts, containerNames(o.containers))
	}
	return strings.Join(parts, " and ")
}

func containerNames(names []string) string {
	return number(len(names), "container", "containers") + " " + quoted(names)
}

func number(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

// containers returns all containers, the initial ones first.
func (p pod) containers() []*corev1.Container {
	var all []*corev1.Container
	for i := range p.InitContainers {
		all = append(all, &p.InitContainers[i])
	}
	for i := range p.Containers {
		all = append(all, &p.Containers[i])
	}
	for i := range p.EphemeralContainers {
		all = append(all, (*corev1.Container)(&p.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// blame returns the containers that are bad, by their security contexts, which
// are never nil.
func (p pod) blame(bad func(*corev1.SecurityContext) bool) []string {
	var names []string
	for _, c := range p.containers() {
		context := c.SecurityContext
		if context == nil {
			context = &corev1.SecurityContext{}
		}
		if bad(context) {
			names = append(names, c.Name)
		}
	}
	return names
}

// context returns the pod's security context, never nil.
func (p pod) context() *corev1.PodSecurityContext {
	if p.SecurityContext == nil {
		return &corev1.PodSecurityContext{}
	}
	return p.SecurityContext
}

// ownUsers says whether the pod has a user namespace, in which root is nobody
// on the node.
func (p pod) ownUsers() bool { return p.HostUsers != nil && !*p.HostUsers }

// onWindows says whether the pod is for Windows, which knows nothing of some
// settings.
func (p pod) onWindows() bool { return p.OS != nil && p.OS.Name == corev1.Windows }
