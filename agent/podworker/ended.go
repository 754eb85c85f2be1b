package podworker

import (
	"encoding/json"
	"maps"
	"slices"

	"navarch.dev/navarch/agent/runtime"
)

// annotationEnded is the annotation of a sandbox by which the next agent knows how
// containers have ended that are not started again: the runtime's own state of them
// went with the sandbox before.
const annotationEnded = "navarch.dev/ended"

// endings are the pod's containers that have ended for good before its sandbox is
// made, as far as somebody may want to know of them.
func (w *worker) endings() []runtime.ContainerStatus {
	var all []runtime.ContainerStatus
	for _, c := range w.containers {
		if !c.exited() {
			continue
		}
		st, spec := c.current, &c.current.Spec
		st.Spec = runtime.ContainerSpec{ID: spec.ID, Name: spec.Name, Attempt: spec.Attempt, ImageID: spec.ImageID, LogPath: spec.LogPath}
		if n, ok := spec.Annotations[annotationRestarts]; ok {
			st.Spec.Annotations = map[string]string{annotationRestarts: n}
		}
		all = append(all, st)
	}
	return all
}

// noteEnded has a sandbox tell of containers that have ended before it was made.
func noteEnded(spec *runtime.SandboxSpec, ended []runtime.ContainerStatus) error {
	if len(ended) == 0 {
		return nil
	}
	noted, err := annotate(annotationEnded, ended)
	if err != nil {
		return err
	}
	maps.Copy(spec.Annotations, noted)
	return nil
}

// withEnded adds to a sandbox's containers those that ended before it was made, and
// were not started again since.
func withEnded(spec *runtime.SandboxSpec, containers []runtime.ContainerStatus) []runtime.ContainerStatus {
	var ended []runtime.ContainerStatus
	if json.Unmarshal([]byte(spec.Annotations[annotationEnded]), &ended) != nil {
		return containers // there is none, as a rule
	}
	all := slices.Clone(containers)
	for _, st := range ended {
		if !slices.ContainsFunc(containers, func(c runtime.ContainerStatus) bool { return c.Spec.Name == st.Spec.Name }) {
			all = append(all, st)
		}
	}
	return all
}
