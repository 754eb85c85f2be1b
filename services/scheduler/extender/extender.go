// Package extender asks programs outside the scheduler that speak Kubernetes'
// scheduler extender protocol: which nodes a pod may go to, how good they are,
// whom to make room, and to write bindings. Each question is a POST of JSON.
//
//	extender.go  what extenders there are, and which pods are theirs
//	ask.go       the questions
//	preempt.go   the question about victims
//	call.go      one request
//	validate.go  what is wrong with a configuration
//
// See https://git.k8s.io/design-proposals-archive/scheduling/scheduler_extender.md
package extender

import (
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
)

// Set is the extenders of a scheduler, which all its profiles share.
type Set struct {
	// Extenders are in the order in which they are asked.
	Extenders []framework.Extender
	// Binder comes before the profiles' own; nil if no extender binds.
	Binder framework.Bind
	// Ignored are the resources that the scheduler does not count, since an
	// extender does.
	Ignored []string
}

// extender is one of them.
type extender struct {
	// name is the URL, and where several have the same, which of them it is.
	name    string
	config  configv1.Extender
	managed map[corev1.ResourceName]bool
	caller  *caller
	log     *slog.Logger
}

// New returns the extenders of configurations that pass Validate. It reads
// their certificates.
func New(configs []configv1.Extender, log *slog.Logger) (*Set, error) {
	set := &Set{}
	names := make(map[string]bool)
	for i := range configs {
		config := configs[i]
		caller, err := newCaller(&config)
		if err != nil {
			return nil, fmt.Errorf("extenders[%d]: connect to %s: %w", i, config.URLPrefix, err)
		}
		name := config.URLPrefix
		if names[name] {
			name = fmt.Sprintf("%s (extenders[%d])", name, i)
		}
		names[name] = true
		e := &extender{name: name, config: config, managed: make(map[corev1.ResourceName]bool), caller: caller, log: log.With("extender", name)}
		for _, r := range config.ManagedResources {
			e.managed[corev1.ResourceName(r.Name)] = true
			if r.IgnoredByScheduler {
				set.Ignored = append(set.Ignored, r.Name)
			}
		}
		set.Extenders = append(set.Extenders, e.asExtender())
		if config.BindVerb != "" {
			set.Binder = &binder{extender: e}
		}
	}
	return set, nil
}

func (e *extender) asExtender() framework.Extender {
	out := framework.Extender{Name: e.name, Interested: e.interested, Weight: e.config.Weight}
	if e.config.FilterVerb != "" {
		out.Filter = e.filter
	}
	if e.config.PrioritizeVerb != "" {
		out.Score = e.score
	}
	if e.config.PreemptVerb != "" {
		out.Preempt = e.preempt
	}
	return out
}

// interested says whether a container of the pod asks for a resource that the
// extender manages. One that manages none is asked about every pod.
func (e *extender) interested(pod *corev1.Pod) bool {
	if len(e.managed) == 0 {
		return true
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			for _, list := range []corev1.ResourceList{containers[i].Resources.Requests, containers[i].Resources.Limits} {
				for name := range list {
					if e.managed[name] {
						return true
					}
				}
			}
		}
	}
	return false
}
