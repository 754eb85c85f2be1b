package simulation_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// guarded is how many pods a disruption budget wants of each application.
const guarded = 2

// deed is something that a user, or fate, does.
type deed struct {
	name string
	// weight is how often it is done, among the others.
	weight int
	do     func(*world)
}

var deeds = []deed{
	{"create a deployment", 8, (*world).createDeployment},
	{"edit a deployment", 30, (*world).editDeployment},
	{"delete a deployment", 2, (*world).deleteDeployment},
	{"create a statefulset", 6, (*world).createStatefulSet},
	{"edit a statefulset", 12, (*world).editStatefulSet},
	{"delete a statefulset", 1, func(w *world) { w.remove(&appsv1.StatefulSet{}, w.pick("db-0", "db-1")) }},
	{"create a daemonset", 3, (*world).createDaemonSet},
	{"edit a daemonset", 3, (*world).editDaemonSet},
	{"create a job", 12, (*world).createJob},
	{"edit a job", 4, (*world).editJob},
	{"delete a job", 4, func(w *world) { w.remove(&batchv1.Job{}, w.pick("sum-0", "sum-1", "sum-2")) }},
	{"create a cronjob", 1, (*world).createCronJob},
	{"delete a pod", 12, (*world).deletePod},
	{"evict a pod", 12, (*world).evictPod},
	{"let a pod fall ill", 12, (*world).sickenPod},
	{"let a node fail", 2, (*world).failNode},
	{"let nodes return", 4, (*world).healNodes},
	{"cordon or uncordon a node", 3, (*world).cordon},
	{"kill a service", 3, (*world).killService},
}

func (w *world) pick(names ...string) string { return names[w.rng.IntN(len(names))] }

// tolerate accepts what users get told.
func (w *world) tolerate(err error) bool {
	w.t.Helper()
	switch {
	case err == nil:
		return true
	case apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsTooManyRequests(err):
	default:
		w.t.Fatal(err)
	}
	return false
}

// change edits an object, if it is there.
func change[T kinds.Object](w *world, obj T, namespace, name string, edit func(T)) {
	w.t.Helper()
	obj.SetNamespace(namespace)
	obj.SetName(name)
	w.tolerate(w.RetryOnConflict(w.t.Context(), obj, func() bool { edit(obj); return true }, w.Update))
}

func (w *world) remove(obj kinds.Object, name string, ways ...metav1.DeletionPropagation) {
	w.t.Helper()
	obj.SetNamespace("default")
	obj.SetName(name)
	ways = append(ways, metav1.DeletePropagationBackground, metav1.DeletePropagationForeground)
	w.tolerate(w.Delete(w.t.Context(), obj, client.DeleteOptions{Propagation: ways[w.rng.IntN(len(ways))]}))
}

func (w *world) image() string { return fmt.Sprintf("app:%d", w.rng.IntN(4)) }

func template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: image,
			Resources: corev1.ResourceRequirements{Requests: hard("cpu", "100m", "memory", "64Mi"), Limits: hard("cpu", "400m")},
		}}},
	}
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func metaOf(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

// deploymentNamespace returns where a deployment lives, by its name: crowd is the one
// that a quota limits, and again the one that recreates.
func deploymentNamespace(name string) string {
	if name == "crowd" {
		return limited
	}
	return "default"
}

func (w *world) deploymentName() string { return w.pick("web-0", "web-1", "again", "crowd") }

func (w *world) createDeployment() {
	name := w.deploymentName()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: deploymentNamespace(name), Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(w.rng.Int32N(9)), Selector: selector(name), Template: template(name, w.image())},
	}
	if name == "again" {
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	}
	w.tolerate(w.Create(w.t.Context(), d))
}

func (w *world) editDeployment() {
	name := w.deploymentName()
	change(w, &appsv1.Deployment{}, deploymentNamespace(name), name, func(d *appsv1.Deployment) {
		for range 1 + w.rng.IntN(2) {
			w.editDeploymentOnce(d)
		}
	})
}

func (w *world) editDeploymentOnce(d *appsv1.Deployment) {
	switch w.rng.IntN(6) {
	case 0, 1:
		d.Spec.Replicas = ptr.To(w.rng.Int32N(13))
	case 2, 3:
		d.Spec.Template.Spec.Containers[0].Image = w.image()
	case 4:
		d.Spec.Paused = !d.Spec.Paused
	case 5:
		if d.Spec.Strategy.RollingUpdate != nil {
			values := []intstr.IntOrString{intstr.FromInt32(1), intstr.FromInt32(3), intstr.FromString("25%"), intstr.FromString("70%")}
			d.Spec.Strategy.RollingUpdate.MaxSurge = &values[w.rng.IntN(len(values))]
			d.Spec.Strategy.RollingUpdate.MaxUnavailable = &values[w.rng.IntN(len(values))]
		}
	}
}

// deleteDeployment orphans the sets of some, for a next one to adopt.
func (w *world) deleteDeployment() {
	w.remove(&appsv1.Deployment{}, w.pick("web-0", "web-1"), metav1.DeletePropagationOrphan)
}

func (w *world) createStatefulSet() {
	name := w.pick("db-0", "db-1")
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       appsv1.StatefulSetSpec{Replicas: ptr.To(w.rng.Int32N(5)), Selector: selector(name), Template: template(name, w.image())},
	}
	if name == "db-1" {
		s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	}
	w.tolerate(w.Create(w.t.Context(), s))
}

func (w *world) editStatefulSet() {
	change(w, &appsv1.StatefulSet{}, "default", w.pick("db-0", "db-1"), func(s *appsv1.StatefulSet) {
		if w.rng.IntN(2) == 0 {
			s.Spec.Replicas = ptr.To(w.rng.Int32N(6))
		} else {
			s.Spec.Template.Spec.Containers[0].Image = w.image()
		}
	})
}

func (w *world) createDaemonSet() {
	w.tolerate(w.Create(w.t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "logs"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector("logs"), Template: template("logs", w.image())},
	}))
}

func (w *world) editDaemonSet() {
	change(w, &appsv1.DaemonSet{}, "default", "logs", func(d *appsv1.DaemonSet) {
		d.Spec.Template.Spec.Containers[0].Image = w.image()
	})
}

func (w *world) jobSpec(app string) batchv1.JobSpec {
	spec := batchv1.JobSpec{
		Completions: ptr.To(1 + w.rng.Int32N(8)), Parallelism: ptr.To(1 + w.rng.Int32N(4)),
		BackoffLimit: ptr.To(w.rng.Int32N(6)), Template: template(app, w.image()),
	}
	spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return spec
}

func (w *world) createJob() {
	name := w.pick("sum-0", "sum-1", "sum-2")
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: w.jobSpec(name)}
	if w.rng.IntN(2) == 0 {
		j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	}
	if w.rng.IntN(3) == 0 {
		j.Spec.TTLSecondsAfterFinished = ptr.To[int32](120)
	}
	w.tolerate(w.Create(w.t.Context(), j))
}

func (w *world) editJob() {
	change(w, &batchv1.Job{}, "default", w.pick("sum-0", "sum-1", "sum-2"), func(j *batchv1.Job) {
		if w.rng.IntN(2) == 0 {
			j.Spec.Parallelism = ptr.To(1 + w.rng.Int32N(4))
		} else if jobEnd(j) == "" {
			j.Spec.Suspend = ptr.To(!ptr.Deref(j.Spec.Suspend, false))
		}
	})
}

func (w *world) createCronJob() {
	w.tolerate(w.Create(w.t.Context(), &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nightly"},
		Spec: batchv1.CronJobSpec{
			Schedule: "*/1 * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent,
			JobTemplate: batchv1.JobTemplateSpec{Spec: w.jobSpec("nightly")},
		},
	}))
}

// somePod returns a pod that satisfies a condition, nil if there is none.
func (w *world) somePod(ok func(*corev1.Pod) bool) *corev1.Pod {
	l := &corev1.PodList{}
	if err := w.List(w.t.Context(), l, client.ListOptions{}); err != nil {
		w.t.Fatal(err)
	}
	l.Items = slices.DeleteFunc(l.Items, func(p corev1.Pod) bool { return !ok(&p) })
	if len(l.Items) == 0 {
		return nil
	}
	return &l.Items[w.rng.IntN(len(l.Items))]
}

func (w *world) deletePod() {
	if pod := w.somePod(isActive); pod != nil {
		w.tolerate(w.Delete(w.t.Context(), pod, client.DeleteOptions{UID: pod.UID}))
	}
}

// evictPod evicts a ready pod of a guarded application, and looks at what that
// left.
func (w *world) evictPod() {
	app := w.pick("web-0", "web-1", "db-0")
	pod := w.somePod(func(p *corev1.Pod) bool { return isActive(p) && isReady(p) && p.Labels["app"] == app })
	if pod == nil {
		return
	}
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	if !w.tolerate(w.CreateSubresource(w.t.Context(), pod, "eviction", eviction)) {
		return
	}
	w.catchUp()
	ready := 0
	for _, obj := range w.auditor.state.objects {
		if other, ok := obj.(*corev1.Pod); ok && other.Labels["app"] == app && isActive(other) && w.auditor.state.seemsReady(other) {
			ready++
		}
	}
	if ready < guarded {
		w.t.Fatalf("the eviction of %s leaves %d ready pods, the budget wants %d\nafter\n%s", pod.Name, ready, guarded, w.auditor.story())
	}
}

func (w *world) sickenPod() {
	pod := w.somePod(func(p *corev1.Pod) bool { return isActive(p) && isReady(p) && w.nodes.isUp(p.Spec.NodeName) })
	if pod == nil {
		return
	}
	setReady(pod, false)
	w.tolerate(w.UpdateStatus(w.t.Context(), pod))
}

func (w *world) failNode() { w.nodes.set(nodeName(w.rng.IntN(nodeCount)), false) }

func (w *world) healNodes() {
	for i := range nodeCount {
		w.nodes.set(nodeName(i), true)
	}
}

func (w *world) cordon() {
	change(w, &corev1.Node{}, "", nodeName(w.rng.IntN(nodeCount)), func(n *corev1.Node) {
		n.Spec.Unschedulable = !n.Spec.Unschedulable
	})
}

func (w *world) killService() {
	n := w.rng.IntN(len(w.services))
	w.services[n].restart()
	if n == 0 {
		w.auditor.state.killed = time.Now()
	}
}

// prepare makes what the deeds count on.
func (w *world) prepare(ctx context.Context) {
	w.t.Helper()
	objs := append(quotaObjects(), storageObjects()...)
	for _, app := range []string{"web-0", "web-1", "db-0"} {
		objs = append(objs, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector(app), MinAvailable: ptr.To(intstr.FromInt32(guarded))},
		})
	}
	for _, obj := range objs {
		if err := w.Create(ctx, obj); err != nil {
			w.t.Fatal(err)
		}
	}
	time.Sleep(time.Minute) // the default service accounts are made
	w.catchUp()
}
