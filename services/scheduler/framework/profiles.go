package framework

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Profiles are those of one scheduler. Each pod is placed by the one that it
// names. They are immutable and safe for concurrent use.
type Profiles struct {
	all    []*Profile
	byName map[string]*Profile
}

// NewProfiles returns profiles of different names that order the queue alike.
func NewProfiles(profiles ...*Profile) (*Profiles, error) {
	if len(profiles) == 0 {
		return nil, errors.New("a scheduler needs a profile")
	}
	p := &Profiles{all: profiles, byName: make(map[string]*Profile, len(profiles))}
	for _, profile := range profiles {
		name := profile.SchedulerName()
		if p.byName[name] != nil {
			return nil, fmt.Errorf("there are two profiles %q", name)
		}
		if profile.sort.Name() != profiles[0].sort.Name() {
			return nil, fmt.Errorf("profiles %q and %q order the queue by different plugins", profiles[0].SchedulerName(), name)
		}
		p.byName[name] = profile
	}
	return p, nil
}

// All returns the profiles in the order in which they were given.
func (p *Profiles) All() []*Profile { return p.all }

// Of returns the profile that a pod names; nil if it is another scheduler's.
func (p *Profiles) Of(pod *corev1.Pod) *Profile { return p.byName[pod.Spec.SchedulerName] }

// Default returns the profile of pods that name none: the cluster's default
// scheduler, or else the first.
func (p *Profiles) Default() *Profile {
	if profile, ok := p.byName[corev1.DefaultSchedulerName]; ok {
		return profile
	}
	return p.all[0]
}

// Less orders the queue, which pods of all profiles share.
func (p *Profiles) Less(a, b *QueuedPod) bool { return p.all[0].Less(a, b) }

// PreEnqueue asks the pod's profile.
func (p *Profiles) PreEnqueue(pod *snapshot.PodInfo) *Status {
	if profile := p.Of(pod.Pod); profile != nil {
		return profile.PreEnqueue(pod)
	}
	return nil
}

// Hints returns the events that can help a pod which a plugin of its profile
// rejected.
func (p *Profiles) Hints(pod *snapshot.PodInfo, plugin string) []EventHint {
	if profile := p.Of(pod.Pod); profile != nil {
		return profile.Hints(plugin)
	}
	return nil
}
