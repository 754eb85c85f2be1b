package simulation_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// event is one write.
type event struct {
	version  uint64
	at       time.Time
	old, obj kinds.Object // old is nil of what was made, obj of what was deleted
}

func (e event) String() string {
	obj, verb := e.obj, "updated"
	switch {
	case e.obj == nil:
		obj, verb = e.old, "deleted"
	case e.old == nil:
		verb = "created"
	}
	return fmt.Sprintf("%d %s %s %s/%s%s", e.version, e.at.Format("15:04:05.000"), verb, obj.GetNamespace(), obj.GetName(), describe(obj))
}

func describe(obj kinds.Object) string {
	switch o := obj.(type) {
	case *corev1.Pod:
		return fmt.Sprintf(" pod of %s: %s ready=%t deleting=%t node=%s", owner(o).Name, o.Status.Phase, isReady(o), o.DeletionTimestamp != nil, o.Spec.NodeName)
	case *appsv1.ReplicaSet:
		return fmt.Sprintf(" set of %s: size=%d pods=%d available=%d %s", owner(o).Name, *o.Spec.Replicas, o.Status.Replicas, o.Status.AvailableReplicas, o.Spec.Template.Spec.Containers[0].Image)
	case *appsv1.Deployment:
		return fmt.Sprintf(" deployment: size=%d paused=%t generation=%d seen=%d %s", *o.Spec.Replicas, o.Spec.Paused, o.Generation, o.Status.ObservedGeneration, o.Spec.Template.Spec.Containers[0].Image)
	case *appsv1.StatefulSet:
		return fmt.Sprintf(" statefulset: size=%d ready=%d generation=%d seen=%d", *o.Spec.Replicas, o.Status.ReadyReplicas, o.Generation, o.Status.ObservedGeneration)
	case *batchv1.Job:
		return fmt.Sprintf(" job: active=%d succeeded=%d failed=%d %v", o.Status.Active, o.Status.Succeeded, o.Status.Failed, jobEnd(o))
	}
	if o, ok := obj.(*corev1.PersistentVolumeClaim); ok {
		return fmt.Sprintf(" claim: %s volume=%s deleting=%t owner=%s", o.Status.Phase, o.Spec.VolumeName, o.DeletionTimestamp != nil, owner(o).Name)
	}
	if o, ok := obj.(*corev1.PersistentVolume); ok {
		return fmt.Sprintf(" volume: %s claim=%s deleting=%t %s", o.Status.Phase, holder(o), o.DeletionTimestamp != nil, o.Spec.PersistentVolumeReclaimPolicy)
	}
	return fmt.Sprintf(" %T", obj)
}

// owner is the controller of an object, a zero value if it has none.
func owner(obj kinds.Object) metav1.OwnerReference {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		return *ref
	}
	return metav1.OwnerReference{}
}

// ledger takes down every write, as told by the watches of an observer to whom
// everything is told at once.
type ledger struct {
	t *testing.T

	mu      sync.Mutex
	written []event
}

func newLedger(t *testing.T, c *client.Client) *ledger {
	t.Helper()
	l := &ledger{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	follow[*corev1.Pod](ctx, &wg, l, c)
	follow[*corev1.Node](ctx, &wg, l, c)
	follow[*corev1.ResourceQuota](ctx, &wg, l, c)
	follow[*corev1.ConfigMap](ctx, &wg, l, c)
	follow[*corev1.PersistentVolumeClaim](ctx, &wg, l, c)
	follow[*corev1.PersistentVolume](ctx, &wg, l, c)
	follow[*autoscalingv2.HorizontalPodAutoscaler](ctx, &wg, l, c)
	follow[*appsv1.Deployment](ctx, &wg, l, c)
	follow[*appsv1.ReplicaSet](ctx, &wg, l, c)
	follow[*appsv1.StatefulSet](ctx, &wg, l, c)
	follow[*appsv1.DaemonSet](ctx, &wg, l, c)
	follow[*batchv1.Job](ctx, &wg, l, c)
	follow[*batchv1.CronJob](ctx, &wg, l, c)
	return l
}

func follow[T kinds.Object](ctx context.Context, wg *sync.WaitGroup, l *ledger, c *client.Client) {
	l.t.Helper()
	informer, err := client.NewInformer[T](c, client.InformerOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	informer.AddHandler(client.Handler[T]{
		OnAdd:    func(obj T) { l.note(obj.GetResourceVersion(), event{obj: obj}) },
		OnUpdate: func(old, obj T) { l.note(obj.GetResourceVersion(), event{old: old, obj: obj}) },
		OnDelete: func(old T) { l.note(old.GetResourceVersion(), event{old: old}) },
	})
	wg.Go(func() { informer.Run(ctx) })
}

func (l *ledger) note(version string, e event) {
	var err error
	if e.version, err = strconv.ParseUint(version, 10, 64); err != nil {
		l.t.Errorf("version %q: %v", version, err)
	}
	e.at = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = append(l.written, e)
}

// take returns what was written since the last call, in the order in which it
// was.
func (l *ledger) take() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := l.written
	l.written = nil
	slices.SortStableFunc(written, func(a, b event) int {
		return int(int64(a.version) - int64(b.version))
	})
	return written
}

// invariant is a promise. It looks at each write, after the state has it.
type invariant interface {
	// check returns what is wrong with a write, nil if it is as promised.
	check(s *state, e event) error
}

// auditor checks the promises.
type auditor struct {
	t          *testing.T
	state      *state
	invariants []invariant
	recent     []event
}

// remembered is how many writes are told of with a broken promise.
const remembered = 60

func newAuditor(t *testing.T) *auditor {
	return &auditor{t: t, state: newState(), invariants: []invariant{
		ownership{}, &placement{}, quotas{}, &rollouts{}, sets{}, statefulSets{}, &jobs{}, cronJobs{}, &claims{}, &autoscaling{},
	}}
}

func (a *auditor) audit(written []event) {
	a.t.Helper()
	for _, e := range written {
		a.state.apply(e)
		a.recent = append(a.recent, e)
		if len(a.recent) > 2*remembered {
			a.recent = slices.Clone(a.recent[remembered:])
		}
		for _, i := range a.invariants {
			if err := i.check(a.state, e); err != nil {
				a.t.Fatalf("%v\nafter\n%s", err, a.story())
			}
		}
	}
}

func (a *auditor) story() string {
	var b strings.Builder
	for _, e := range a.recent {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

// state is the cluster after a write.
type state struct {
	now     time.Time
	objects map[types.UID]kinds.Object
	gone    map[types.UID]time.Time // when it was deleted
	pods    map[types.UID]map[types.UID]*corev1.Pod
	sets    map[types.UID]map[types.UID]*appsv1.ReplicaSet // of Deployments
	// wasReady is when a pod was last ready and not ending; wasAvailable what a
	// ReplicaSet had lately.
	wasReady     map[types.UID]time.Time
	wasAvailable map[types.UID][]sighting
	// made is when an object was made, deleting since when it is being deleted,
	// placed when a pod got its node.
	made, deleting, placed map[types.UID]time.Time
	claimGone              map[string]time.Time // by namespace/name
	// killed is when the Controller was killed last.
	killed time.Time
	// asked are the claims and volumes that users deleted.
	asked map[types.UID]bool
}

// sighting is a number as it was from then on.
type sighting struct {
	since time.Time
	n     int32
}

// lateness is by how much a service may be behind in what it knows: a message
// of a watch waits for those before it.
const lateness = 20 * mostLate

func newState() *state {
	return &state{
		objects: make(map[types.UID]kinds.Object), gone: make(map[types.UID]time.Time),
		pods: make(map[types.UID]map[types.UID]*corev1.Pod), sets: make(map[types.UID]map[types.UID]*appsv1.ReplicaSet),
		wasReady: make(map[types.UID]time.Time), wasAvailable: make(map[types.UID][]sighting),
		made: make(map[types.UID]time.Time), deleting: make(map[types.UID]time.Time), placed: make(map[types.UID]time.Time),
		claimGone: make(map[string]time.Time), asked: make(map[types.UID]bool),
	}
}

func (s *state) apply(e event) {
	s.now = e.at
	if e.old != nil {
		s.remove(e.old)
	}
	if e.obj == nil {
		s.gone[e.old.GetUID()] = e.at
		delete(s.wasAvailable, e.old.GetUID())
		if claim, ok := e.old.(*corev1.PersistentVolumeClaim); ok {
			s.claimGone[claim.Namespace+"/"+claim.Name] = e.at
		}
		return
	}
	uid := e.obj.GetUID()
	if e.old == nil {
		s.made[uid] = e.at
	}
	if _, noted := s.deleting[uid]; !noted && e.obj.GetDeletionTimestamp() != nil {
		s.deleting[uid] = e.at
	}
	s.objects[e.obj.GetUID()] = e.obj
	switch o := e.obj.(type) {
	case *corev1.Pod:
		place(s.pods, owner(o).UID, o)
		if _, noted := s.placed[uid]; !noted && o.Spec.NodeName != "" {
			s.placed[uid] = e.at
		}
		if old, ok := e.old.(*corev1.Pod); isReady(o) && isActive(o) || ok && isReady(old) && isActive(old) {
			s.wasReady[o.UID] = e.at
		}
	case *appsv1.ReplicaSet:
		place(s.sets, owner(o).UID, o)
		s.sight(o.UID, o.Status.AvailableReplicas)
	}
}

func place[T kinds.Object](by map[types.UID]map[types.UID]T, owner types.UID, obj T) {
	if by[owner] == nil {
		by[owner] = make(map[types.UID]T)
	}
	by[owner][obj.GetUID()] = obj
}

func (s *state) remove(obj kinds.Object) {
	delete(s.objects, obj.GetUID())
	switch o := obj.(type) {
	case *corev1.Pod:
		delete(s.pods[owner(o).UID], o.UID)
	case *appsv1.ReplicaSet:
		delete(s.sets[owner(o).UID], o.UID)
	}
}

func (s *state) sight(set types.UID, n int32) {
	seen := append(s.wasAvailable[set], sighting{s.now, n})
	for len(seen) > 1 && s.now.Sub(seen[1].since) > lateness {
		seen = seen[1:]
	}
	s.wasAvailable[set] = seen
}

// mostAvailable is the largest number of available pods that a ReplicaSet can
// still be thought to have.
func (s *state) mostAvailable(set types.UID) (most int32) {
	seen := s.wasAvailable[set]
	for i, one := range seen {
		if i+1 < len(seen) && s.now.Sub(seen[i+1].since) > lateness {
			continue
		}
		most = max(most, one.n)
	}
	return most
}

// seemsReady says whether a pod can be thought to be ready.
func (s *state) seemsReady(pod *corev1.Pod) bool {
	return isReady(pod) && isActive(pod) || s.now.Sub(s.wasReady[pod.UID]) <= lateness
}

// countActive counts the active pods of an owner.
func (s *state) countActive(owner types.UID) (n int32) {
	for _, pod := range s.pods[owner] {
		if isActive(pod) {
			n++
		}
	}
	return n
}

// all returns the objects of a kind, in no order.
func all[T kinds.Object](s *state) (out []T) {
	for _, obj := range s.objects {
		if o, ok := obj.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// find returns an object by its name, the zero value if there is none.
func find[T kinds.Object](s *state, namespace, name string) (found T) {
	for _, obj := range s.objects {
		if o, ok := obj.(T); ok && o.GetName() == name && o.GetNamespace() == namespace {
			return o
		}
	}
	return found
}

// claimOf returns the claim that a volume is for, nil if it is gone.
func (s *state) claimOf(pv *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	claim, _ := s.objects[holder(pv)].(*corev1.PersistentVolumeClaim)
	return claim
}
