package podworker

import (
	"context"
	"errors"

	"navarch.dev/navarch/agent/runtime"
)

// annotationRestart is the annotation of a container in the runtime that says that it
// is ended to be started anew, whatever its pod's restart policy. So an agent that
// is killed meanwhile leaves no container that has ended for no reason.
const annotationRestart = "navarch.dev/restart"

// noteRestart has the next agent know that a container is ended to be started anew.
func (m *Manager) noteRestart(ctx context.Context, id string) {
	err := m.deps.Runtime.AnnotateContainer(ctx, id, map[string]string{annotationRestart: "true"})
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		m.deps.Log.WarnContext(ctx, "that a container is to be started anew was not noted", "container", id, "error", err)
	}
}

// toBeRestarted says whether an earlier agent has ended a container, or was about to,
// to start it anew.
func toBeRestarted(spec *runtime.ContainerSpec) bool {
	return spec.Annotations[annotationRestart] != ""
}
