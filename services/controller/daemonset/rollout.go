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
	// again is when a failed pod is to be replaced, which is too early now.
	again runner.Outcome
}

// place is one node and the set's pods there, the oldest first of those that are on
// the node, then of those that are meant for it.
type place struct {
	node string
	fit
	// all are the pods but for those that have ended and are being deleted.
	all []*corev1.Pod
	// live are those that have not ended and are not being deleted: fresh ones are
	// of the newest revision, stale ones of others.
	live, fresh, stale []*corev1.Pod
	// failed and succeeded have ended and are not being deleted.
	failed, succeeded []*corev1.Pod
	// leaving is whether a pod is being deleted there.
	leaving bool
}

// place sorts the pods by node.
func (ro *rollout) place() {
	byNode := make(map[string]*place)
	wants := demandOf(ro.set)
	for _, node := range ro.nodes.List() {
		f, err := wants.fits(node)
		if err != nil {
			ro.err = runner.Terminal(fmt.Errorf("read the node affinity: %w", err))
		}
		p := &place{node: node.Name, fit: f}
		byNode[node.Name] = p
		ro.places = append(ro.places, p)
	}
	slices.SortFunc(ro.places, func(a, b *place) int { return cmp.Compare(a.node, b.node) })
	slices.SortFunc(ro.pods, byAge)
	for _, pod := range ro.pods {
		p, ok := byNode[nodeOf(pod)]
		switch {
		case ok:
			p.add(pod, ro.hash)
		case pod.DeletionTimestamp == nil && pod.Spec.NodeName == "":
			// Of a bound one takes care who collects pods of nodes that are gone.
			ro.strays = append(ro.strays, pod)
		}
	}
}

// byAge orders pods that are on a node before those that wait for it, and older
// ones before younger ones.
func byAge(a, b *corev1.Pod) int {
	if waits := a.Spec.NodeName == ""; waits != (b.Spec.NodeName == "") {
		if waits {
			return 1
		}
		return -1
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// add adds a pod. hash is the newest revision's.
func (p *place) add(pod *corev1.Pod, hash string) {
	if pod.DeletionTimestamp != nil && podset.IsFinished(pod) {
		return // just its finalizers, or its node, are to let go of it
	}
	p.all = append(p.all, pod)
	switch {
	case pod.DeletionTimestamp != nil:
		p.leaving = true
	case pod.Status.Phase == corev1.PodFailed:
		p.failed = append(p.failed, pod)
	case pod.Status.Phase == corev1.PodSucceeded:
		p.succeeded = append(p.succeeded, pod)
	default:
		p.live = append(p.live, pod)
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == hash {
			p.fresh = append(p.fresh, pod)
		} else {
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
	left := ro.allowance()
	for _, p := range ro.places {
		needs, gone := ro.at(p, &left)
		if needs {
			create = append(create, p.node)
		}
		remove = append(remove, gone...)
	}
	return create, remove
}

// allowance is what a rollout may still do.
type allowance struct {
	// surges says that a new pod comes beside the old one, before that goes.
	surges bool
	// surge is how many more nodes may have both, down how many more may be without
	// an available pod, and spare how many available pods there are beyond one for
	// each node that should have one.
	surge, down, spare int
}

func (ro *rollout) allowance() allowance {
	surge, unavailable := ro.limits()
	left := allowance{surges: surge > 0, surge: surge, down: unavailable}
	for _, p := range ro.places {
		if p.run && !ro.serves(p) {
			left.down--
		}
		if len(p.stale) > 0 && len(p.fresh) > 0 && !ro.isAvailable(p.fresh[0]) {
			left.surge--
		}
		if ro.serves(p) {
			left.spare++
		}
		if p.run {
			left.spare--
		}
	}
	return left
}

// at says whether a node needs a pod, and which of its pods are to go.
func (ro *rollout) at(p *place, left *allowance) (needs bool, remove []*corev1.Pod) {
	if !p.stay {
		return false, slices.Concat(p.live, p.failed, p.succeeded)
	}
	remove, held := ro.ended(p)
	switch {
	case len(p.live) == 0:
		return p.run && !held && (!p.leaving || left.surges), remove
	case ro.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
		return false, append(remove, p.live[1:]...)
	}
	remove = append(remove, beyondFirst(p.fresh)...)
	remove = append(remove, beyondFirst(p.stale)...)
	if len(p.stale) == 0 {
		return false, remove
	}
	needs, over := ro.replace(p, left)
	if over {
		remove = append(remove, p.stale[0])
	}
	return needs, remove
}

func beyondFirst(pods []*corev1.Pod) []*corev1.Pod { return pods[min(len(pods), 1):] }

// replace says what becomes of a node's old pod: whether a new one is to come beside
// it, or it is to go.
func (ro *rollout) replace(p *place, left *allowance) (needs, over bool) {
	old := p.stale[0]
	available := ro.isAvailable(old)
	switch {
	case len(p.fresh) > 0:
		return false, ro.isAvailable(p.fresh[0]) || left.surges && !podset.IsReady(old)
	case !left.surges:
		return false, !available || take(&left.down) // one that is not available serves nobody
	case !p.run:
		return false, !available || take(&left.spare)
	default:
		return !available || take(&left.surge), false
	}
}

// take takes one of what is left.
func take(left *int) bool {
	if *left <= 0 {
		return false
	}
	*left--
	return true
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
	next := ro.again
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
