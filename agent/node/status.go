package node

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/podspec"
)

// keepStatus writes the status when it has changed, and now and then if not.
func (n *Node) keepStatus(ctx context.Context) error {
	var due time.Time // when the status is written without news
	next := n.phase(statusInterval)
	for {
		now := time.Now()
		wait, gone := checkInterval, n.gone.Swap(false)
		wrote, err := n.writeStatus(ctx, now, gone || !now.Before(due))
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end was asked for
		case apierrors.IsNotFound(err): // somebody deleted it
			if _, err := n.Register(ctx); err != nil {
				return nil //nolint:nilerr // ctx has ended
			}
			wait = 0
		case err != nil:
			n.log.WarnContext(ctx, "the node's status was not written", "error", err)
			if gone {
				n.gone.Store(true)
			}
			wait = retryInterval
		case wrote:
			due, next = now.Add(next), statusInterval
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-n.changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// writeStatus writes the status if it differs from the Store's, or if forced.
func (n *Node) writeStatus(ctx context.Context, now time.Time, force bool) (bool, error) {
	if last := n.last.Load(); last != nil && !force && !n.differs(last, now) {
		return false, nil
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name}}
	wrote := false
	err := n.client.RetryOnConflict(ctx, node, func() bool {
		if !force && !n.differs(&node.Status, now) {
			return false
		}
		n.fill(&node.Status, now)
		wrote = true
		return true
	}, n.updateStatus)
	if err == nil {
		n.last.Store(node.Status.DeepCopy())
	}
	return wrote, err
}

func (n *Node) updateStatus(ctx context.Context, obj kinds.Object) error {
	return n.client.UpdateStatus(ctx, obj)
}

// differs says whether the status has news, times aside.
func (n *Node) differs(have *corev1.NodeStatus, now time.Time) bool {
	want := have.DeepCopy()
	n.fill(want, now)
	for i := range want.Conditions {
		for _, c := range have.Conditions {
			if c.Type == want.Conditions[i].Type {
				want.Conditions[i].LastHeartbeatTime = c.LastHeartbeatTime
			}
		}
	}
	return !equality.Semantic.DeepEqual(have, want)
}

// fill sets all that the agent knows in a status; the rest stays.
func (n *Node) fill(s *corev1.NodeStatus, now time.Time) {
	s.Addresses = n.cfg.Addresses
	s.Capacity, s.Allocatable = n.resources(s.Capacity)
	s.NodeInfo = n.machine.Info
	s.DaemonEndpoints.KubeletEndpoint.Port = n.cfg.Port
	s.Images = n.images()
	s.Features, s.RuntimeHandlers = n.cfg.Features, n.cfg.Handlers
	set := func(kind corev1.NodeConditionType, ok bool, reason, message string) {
		setCondition(s, corev1.NodeCondition{Type: kind, Status: boolStatus(ok), Reason: reason, Message: message}, now)
	}
	p := n.pressure()
	set(corev1.NodeMemoryPressure, p.memory, choose(p.memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
		choose(p.memory, "the node is short of memory", "the node has enough memory available"))
	set(corev1.NodeDiskPressure, p.disk, choose(p.disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
		choose(p.disk, "the node is short of disk space", "the node has enough disk space"))
	set(corev1.NodePIDPressure, p.pids, choose(p.pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
		choose(p.pids, "the node is short of process IDs", "the node has enough process IDs"))
	ok, why := n.ready()
	set(corev1.NodeReady, ok, choose(ok, "KubeletReady", "KubeletNotReady"), choose(ok, "the agent is ready", why))
}

// resources returns the machine's capacity and what of it pods may use. Extended
// resources that somebody has given the node stay: an administrator advertises
// them by a patch of the status, as Kubernetes' documentation says.
func (n *Node) resources(have corev1.ResourceList) (capacity, allocatable corev1.ResourceList) {
	capacity, allocatable = maps.Clone(n.machine.Capacity), maps.Clone(n.machine.Allocatable)
	for name, amount := range have {
		if _, own := capacity[name]; own || !podspec.IsExtended(name) {
			continue
		}
		capacity[name], allocatable[name] = amount, amount
	}
	return capacity, allocatable
}

func setCondition(s *corev1.NodeStatus, c corev1.NodeCondition, now time.Time) {
	c.LastHeartbeatTime = metav1.NewTime(now).Rfc3339Copy()
	c.LastTransitionTime = c.LastHeartbeatTime
	for i := range s.Conditions {
		if s.Conditions[i].Type != c.Type {
			continue
		}
		if s.Conditions[i].Status == c.Status {
			c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		}
		s.Conditions[i] = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

func boolStatus(ok bool) corev1.ConditionStatus {
	if ok {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func choose(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}
