package podworker

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/userns"
)

// errUserNamespace is in the words of kubelets whose runtime cannot make them.
var errUserNamespace = errors.New("can't set `spec.hostUsers: false`, runtime does not support user namespaces")

// wantsUserNamespace says whether root in the pod is not to be root on the node.
func wantsUserNamespace(pod *corev1.Pod) bool {
	return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers
}

// ownUsers says whether the pod gets users of its own.
func (m *Manager) ownUsers(pod *corev1.Pod) bool {
	return m.deps.Users != nil && wantsUserNamespace(pod)
}

// takeUsers gives the pod its users; nil if it has the node's.
func (m *Manager) takeUsers(pod *corev1.Pod) (*userns.Range, error) {
	if !m.ownUsers(pod) {
		return nil, nil
	}
	if problem := m.deps.Users.Problem(); problem != nil {
		return nil, fmt.Errorf("%w: %w", errUserNamespace, problem)
	}
	users, err := m.deps.Users.Take(string(pod.UID))
	if err != nil {
		return nil, fmt.Errorf("create user namespace: %w", err)
	}
	return &users, nil
}

// usersOf returns the users that the pod's sandbox has of its own, nil if none.
func (m *Manager) usersOf(ctx context.Context, podUID string) (*userns.Range, error) {
	if m.deps.Users == nil {
		return nil, nil
	}
	status, err := m.deps.Runtime.SandboxStatus(ctx, podUID)
	if err != nil {
		return nil, fmt.Errorf("look for the pod's users: %w", err)
	}
	return status.Spec.Users, nil
}

// releaseUsers takes a pod's users back, of which no process is left.
func (m *Manager) releaseUsers(podUID string) {
	if m.deps.Users != nil {
		m.deps.Users.Release(podUID)
	}
}

// usersProblem counts a pod with users of its own, once for each of its sandboxes,
// that did not start as it should.
func (w *worker) usersProblem() {
	if w.m.ownUsers(w.pod) && !w.usersFailed {
		w.usersFailed = true
		w.m.deps.Metrics.OwnUsersNotStarted()
	}
}

// recoverUsers has the pods that an earlier agent left keep their users. Of those of
// a sandbox that has ended there is no process any more.
func (m *Manager) recoverUsers(ctx context.Context, found map[string][]runtime.ContainerStatus) error {
	if m.deps.Users == nil {
		return nil
	}
	sandboxes, err := m.deps.Runtime.ListSandboxes(ctx)
	if err != nil {
		return fmt.Errorf("list the sandboxes: %w", err)
	}
	for _, s := range sandboxes {
		if s.Spec.Users == nil || over(s, found[s.Spec.UID]) {
			continue
		}
		if err := m.deps.Users.Hold(s.Spec.UID, *s.Spec.Users); err != nil {
			m.deps.Log.ErrorContext(ctx, "two pods have the same users", "error", err)
		}
	}
	return nil
}

// over says that no process of a sandbox is left.
func over(s runtime.SandboxStatus, containers []runtime.ContainerStatus) bool {
	for _, c := range containers {
		if c.State != runtime.StateExited {
			return false
		}
	}
	return !s.Ready && s.PausePid == 0 && s.ShimPid == 0
}

// adoptNamespace makes the network namespace of the pod's sandbox the pod's.
func (m *Manager) adoptNamespace(ctx context.Context, podUID string) (string, error) {
	before, err := m.deps.Runtime.SandboxStatus(ctx, podUID)
	if err != nil {
		return "", fmt.Errorf("look for the sandbox's network namespace: %w", err)
	}
	path, err := m.deps.Network.AdoptNamespace(podUID, before.PausePid)
	if err != nil {
		return "", err
	}
	// Another process may have got the number of one that ended meanwhile.
	after, err := m.deps.Runtime.SandboxStatus(ctx, podUID)
	if err == nil && (!after.Ready || after.PausePid != before.PausePid) {
		err = fmt.Errorf("the sandbox has ended: %s", after.Message)
	}
	return path, err
}
