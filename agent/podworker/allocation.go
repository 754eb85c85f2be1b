package podworker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/atomicfile"
)

// allocation is what a pod has been given of its node. It differs from what
// the pod's spec asks for while a resize is not granted, and outlives the agent:
// in the sandbox's annotations, and once the pod was resized in a file.
type allocation struct {
	// Pod is for the pod as a whole, if its spec says so.
	Pod *corev1.ResourceRequirements `json:"pod,omitempty"`
	// Containers are the containers' and init containers', by name.
	Containers map[string]corev1.ResourceRequirements `json:"containers"`
}

// allocationOf returns what a pod's spec asks for.
func allocationOf(pod *corev1.Pod) *allocation {
	a := &allocation{Pod: pod.Spec.Resources, Containers: make(map[string]corev1.ResourceRequirements)}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			a.Containers[list[i].Name] = list[i].Resources
		}
	}
	return a
}

func (a *allocation) equal(b *allocation) bool { return equality.Semantic.DeepEqual(a, b) }

// applied returns a pod with the resources that it has been given: the pod
// itself where they are what it asks for.
func (a *allocation) applied(pod *corev1.Pod) *corev1.Pod {
	if a == nil || a.equal(allocationOf(pod)) {
		return pod
	}
	pod = pod.DeepCopy()
	pod.Spec.Resources = a.Pod.DeepCopy()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if r, ok := a.Containers[list[i].Name]; ok {
				list[i].Resources = *r.DeepCopy()
			}
		}
	}
	return pod
}

// Annotations by which the runtime keeps what a container was given, and what
// its pod was when the sandbox was made.
const (
	annotationResources  = "navarch.dev/resources"
	annotationAllocation = "navarch.dev/allocation"
)

// annotate encodes v as an annotation.
func annotate(name string, v any) (map[string]string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode what was given: %w", err)
	}
	return map[string]string{name: string(b)}, nil
}

// resourcesIn returns what a container was given, according to its annotations.
func resourcesIn(spec *runtime.ContainerSpec) (r corev1.ResourceRequirements, ok bool) {
	return r, json.Unmarshal([]byte(spec.Annotations[annotationResources]), &r) == nil
}

func (m *Manager) allocationPath(uid string) string {
	return filepath.Join(m.cfg.PodsDir, uid, "allocation.json")
}

// saveAllocation remembers what a pod has been given, for the next agent. Without
// a folder the Store is the memory.
func (m *Manager) saveAllocation(uid string, a *allocation) error {
	if m.cfg.PodsDir == "" {
		return nil
	}
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode what the pod has been given: %w", err)
	}
	path := m.allocationPath(uid)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("remember what the pod has been given: %w", err)
	}
	if err := atomicfile.Write(path, b, 0o600); err != nil {
		return fmt.Errorf("remember what the pod has been given: %w", err)
	}
	return nil
}

// recoverAllocation returns what an earlier agent gave a pod: according to the
// file if it was ever resized, else to its sandbox, else, after a boot, to what
// the Store was told; nil if that says nothing. So a resize that came while
// nobody was here does not pass for granted.
func (m *Manager) recoverAllocation(ctx context.Context, pod *corev1.Pod) *allocation {
	uid := string(pod.UID)
	b, err := m.readAllocation(uid)
	if errors.Is(err, fs.ErrNotExist) {
		s, statusErr := m.deps.Runtime.SandboxStatus(ctx, uid)
		if text, ok := s.Spec.Annotations[annotationAllocation]; statusErr == nil && ok {
			b, err = []byte(text), nil
		}
	}
	a := &allocation{}
	if err == nil {
		err = json.Unmarshal(b, a)
	}
	switch {
	case err == nil:
		return a
	case !errors.Is(err, fs.ErrNotExist):
		m.deps.Log.WarnContext(ctx, "what a pod was given cannot be read", "uid", uid, "error", err)
	}
	return toldAllocation(pod)
}

func (m *Manager) readAllocation(uid string) ([]byte, error) {
	if m.cfg.PodsDir == "" {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(m.allocationPath(uid))
}

// GivenResources are the limits of a pod as a whole, and of its containers by
// name, by what the pod's status says that it has been given.
func GivenResources(pod *corev1.Pod) (whole runtime.Resources, containers map[string]runtime.Resources) {
	pod = toldAllocation(pod).applied(pod)
	containers = make(map[string]runtime.Resources)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			containers[list[i].Name] = resourcesOf(pod, &list[i])
		}
	}
	return podResources(pod), containers
}

// toldAllocation returns what a pod's containers have according to its status.
func toldAllocation(pod *corev1.Pod) *allocation {
	a, told := allocationOf(pod), false
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if _, ok := a.Containers[list[i].Name]; ok && list[i].Resources != nil {
				a.Containers[list[i].Name], told = *list[i].Resources, true
			}
		}
	}
	if !told {
		return nil
	}
	return a
}
