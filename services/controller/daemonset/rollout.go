package daemonset

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// rollout is one reconcile's view of a DaemonSet.
type rollout struct {
	*reconciler
	set *appsv1.DaemonSet
	// hash names the newest revision in the pods' labels.
	hash string
	pods []*corev1.Pod
	now  time.Time

	// places are the nodes, ordered by name; strays are pods of nodes that do
	// not exist or whose pod may not stay.
	places []*place
	strays []*corev1.Pod
	err    error
}

// place is one node and the set's pods there.
type place struct {
	node string
	fit
	// pods that are not being deleted, of the newest revision and of older
	// ones, oldest first; ended ones failed or succeeded.
	fresh, stale, ended []*corev1.Pod
	// leaving is whether a pod is being deleted there.
	leaving bool
}

// place sorts the pods by node.
func (ro *rollout) place() {
	byNode := make(map[string]*place)
	for _, node := range ro.nodes.List() {
		f, err := nodeFits(ro.set, node)
		if err != nil {
			ro.err = runner.Terminal(fmt.Errorf("read the node affinity: %w", err))
		}
		p := &place{node: node.Name, fit: f}
		byNode[node.Name] = p
		ro.places = append(ro.places, p)
	}
	slices.SortFunc(ro.places, func(a, b *place) int { return cmp.Compare(a.node, b.node) })
	slices.SortFunc(ro.pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range ro.pods {
		p, ok := byNode[nodeOf(pod)]
		switch {
		case ok && pod.DeletionTimestamp != nil:
			p.leaving = true
		case pod.DeletionTimestamp != nil:
		case !ok:
			if pod.Spec.NodeName == "" { // of a bound one takes care who collects pods of nodes that are gone
				ro.strays = append(ro.strays, pod)
			}
		case podset.IsFinished(pod):
			p.ended = append(p.ended, pod)
		case pod.Labels[appsv1.ControllerRevisionHashLabelKey] == ro.hash:
			p.fresh = append(p.fresh, pod)
		default:
			p.stale = append(p.stale, pod)
		}
	}
}

// act makes and deletes pods.
func (ro *rollout) act(ctx context.Context) error {
	if ro.err != nil {
		return ro.err
	}
	create, remove := ro.plan()
	if err := ro.control.Delete(ctx, ro.set, remove[:min(len(remove), podset.BurstLimit)]); err != nil {
		return err
	}
	pods := make([]*corev1.Pod, min(len(create), podset.BurstLimit))
	for i := range pods {
		pods[i] = ro.newPod(create[i])
	}
	_, err := ro.control.Create(ctx, ro.set, pods)
	return err
}

// plan returns the nodes that need a pod and the pods to delete.
func (ro *rollout) plan() (create []string, remove []*corev1.Pod) {
	remove = ro.strays
	surge, unavailable := ro.limits()
	down := 0
	for _, p := range ro.places {
		if p.run && !ro.serves(p) {
			down++
		}
	}
	surging := ro.surging()
	for _, p := range ro.places {
		remove = append(remove, p.ended...)
		if !p.stay {
			remove = slices.Concat(remove, p.fresh, p.stale)
			continue
		}
		if len(p.fresh) > 1 { // one too many; the oldest stays
			remove = append(remove, p.fresh[1:]...)
		}
		if len(p.stale) > 1 {
			remove = append(remove, p.stale[1:]...)
		}
		switch {
		case len(p.fresh)+len(p.stale) == 0:
			if p.run && !p.leaving {
				create = append(create, p.node)
			}
		case len(p.stale) == 0 || ro.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
		case len(p.fresh) > 0:
			if ro.isAvailable(p.fresh[0]) {
				remove = append(remove, p.stale[0])
			}
		case !ro.isAvailable(p.stale[0]):
			remove = append(remove, p.stale[0]) // it serves nobody
		case surge > 0:
			if p.run && surging < surge {
				surging++
				create = append(create, p.node)
			}
		case down < unavailable:
			down++
			remove = append(remove, p.stale[0])
		}
	}
	return create, remove
}

// surging is on how many nodes an old and a new pod are side by side.
func (ro *rollout) surging() (n int) {
	for _, p := range ro.places {
		if len(p.fresh) > 0 && len(p.stale) > 0 {
			n++
		}
	}
	return n
}

func (ro *rollout) isAvailable(pod *corev1.Pod) bool {
	return podset.IsAvailable(pod, ro.set.Spec.MinReadySeconds, ro.now)
}

// serves says whether a pod is available on a node.
func (ro *rollout) serves(p *place) bool {
	return slices.ContainsFunc(p.fresh, ro.isAvailable) || slices.ContainsFunc(p.stale, ro.isAvailable)
}

// limits returns maxSurge and, without it, maxUnavailable, at least one.
func (ro *rollout) limits() (surge, unavailable int) {
	ru := ro.set.Spec.UpdateStrategy.RollingUpdate
	if ru == nil {
		return 0, 1
	}
	wanted := 0
	for _, p := range ro.places {
		if p.run {
			wanted++
		}
	}
	surge, unavailable = amount(ru.MaxSurge, wanted), amount(ru.MaxUnavailable, wanted)
	if surge == 0 {
		unavailable = max(unavailable, 1)
	}
	return surge, unavailable
}

// amount resolves a number or percentage, rounded up. What cannot be read is
// 0; the Store lets no such value in.
func amount(v *intstr.IntOrString, total int) int {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, total, true)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// nextAvailable asks to be called when the next ready pod becomes available.
func (ro *rollout) nextAvailable() runner.Outcome {
	next := runner.Done()
	for _, pod := range ro.pods {
		if wait, ready := podset.AvailableIn(pod, ro.set.Spec.MinReadySeconds, ro.now); ready {
			next = next.Sooner(runner.RequeueAfter(wait))
		}
	}
	return next
}

func (ro *rollout) hashesInUse() map[string]bool {
	inUse := make(map[string]bool)
	for _, pod := range ro.pods {
		inUse[pod.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
	}
	return inUse
}
