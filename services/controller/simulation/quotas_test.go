package simulation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
)

const (
	// limited is a namespace with quotas for all of it, scoped one with quotas
	// for some of its pods.
	limited, scoped = "limited", "scoped"
	// maxDeadline is what pods with a deadline have, which never comes.
	maxDeadline = 30 * 24 * 60 * 60
)

// quotaLimits are the quotas of the namespaces, with the least that each allows.
var quotaLimits = map[string]map[string]corev1.ResourceQuotaSpec{
	limited: {
		"pods":    {Hard: hard("pods", "4")},
		"compute": {Hard: hard("requests.cpu", "600m", "requests.memory", "400Mi", "limits.cpu", "2")},
		"objects": {Hard: hard("count/configmaps", "2", "configmaps", "3", "count/jobs.batch", "1", "count/pods", "6")},
		"storage": {Hard: hard("persistentvolumeclaims", "2", "requests.storage", "4Gi", localpath.ClassName+".storageclass.storage.k8s.io/requests.storage", "2Gi",
			classNow+".storageclass.storage.k8s.io/persistentvolumeclaims", "1")},
	},
	scoped: {
		"besteffort":     {Hard: hard("pods", "1"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}},
		"notbesteffort":  {Hard: hard("pods", "2", "requests.cpu", "250m"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}},
		"terminating":    {Hard: hard("pods", "1"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}},
		"notterminating": {Hard: hard("pods", "2"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating}},
		"important": {Hard: hard("pods", "1"), ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{important}},
		}}},
	},
}

func hard(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for pair := range slices.Chunk(pairs, 2) {
		list[corev1.ResourceName(pair[0])] = resource.MustParse(pair[1])
	}
	return list
}

var quotaDeeds = []deed{
	{"change a quota", 6, (*world).changeQuota},
	{"create an object under a quota", 10, (*world).createLimited},
	{"delete an object under a quota", 6, (*world).deleteLimited},
	{"create a pod under scoped quotas", 10, (*world).createScoped},
	{"give a pod a deadline", 5, (*world).setDeadline},
	{"delete a pod under scoped quotas", 5, (*world).deleteScoped},
}

func quotaObjects() (objs []kinds.Object) {
	for namespace, specs := range quotaLimits {
		objs = append(objs, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		for name, spec := range specs {
			objs = append(objs, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: *spec.DeepCopy()})
		}
	}
	slices.SortFunc(objs, byName) // namespaces first
	return objs
}

// underQuota accepts what users get told, and that a quota forbids it.
func (w *world) underQuota(err error) bool {
	w.t.Helper()
	if apierrors.IsForbidden(err) && (strings.Contains(err.Error(), "exceeded quota") || strings.Contains(err.Error(), "status unknown for quota")) {
		return false
	}
	return w.tolerate(err)
}

func (w *world) changeQuota() {
	q := some(w, func(*corev1.ResourceQuota) bool { return true })
	change(w, &corev1.ResourceQuota{}, q.Namespace, q.Name, func(q *corev1.ResourceQuota) {
		limits := quotaLimits[q.Namespace][q.Name].Hard
		for _, name := range slices.Sorted(maps.Keys(limits)) {
			least := limits[name] // up to three times that
			q.Spec.Hard[name] = *resource.NewMilliQuantity(least.MilliValue()*(1+w.rng.Int64N(3)), least.Format)
		}
	})
}

func (w *world) createLimited() {
	meta := metav1.ObjectMeta{Namespace: limited, Name: fmt.Sprintf("thing-%d", w.rng.IntN(6))}
	var obj kinds.Object
	switch w.rng.IntN(4) {
	case 0, 1:
		obj = &corev1.PersistentVolumeClaim{ObjectMeta: meta, Spec: w.claimSpec(localpath.ClassName, classNow, classStatic)}
	case 2:
		obj = &corev1.ConfigMap{ObjectMeta: meta}
	case 3:
		j := &batchv1.Job{ObjectMeta: meta, Spec: w.jobSpec(meta.Name)}
		j.Spec.TTLSecondsAfterFinished = ptr.To[int32](60)
		obj = j
	}
	w.underQuota(w.Create(w.t.Context(), obj))
}

func (w *world) deleteLimited() {
	if obj := some(w, func(o kinds.Object) bool {
		_, isPod := o.(*corev1.Pod)
		return o.GetNamespace() == limited && !isPod && strings.HasPrefix(o.GetName(), "thing-")
	}); obj != nil {
		w.ask(obj)
	}
}

func (w *world) createScoped() {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: scoped, Name: fmt.Sprintf("odd-%d", w.rng.IntN(8)), Labels: map[string]string{"app": "odd"}}}
	pod.Spec = template("odd", w.image()).Spec
	if w.rng.IntN(2) == 0 {
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	}
	if w.rng.IntN(3) == 0 {
		pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](maxDeadline)
	}
	if w.rng.IntN(3) == 0 {
		pod.Spec.PriorityClassName = important
	}
	if w.rng.IntN(2) == 0 {
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	w.underQuota(w.Create(w.t.Context(), pod))
}

func (w *world) scopedPod() *corev1.Pod {
	return w.somePod(func(p *corev1.Pod) bool { return p.Namespace == scoped && isActive(p) })
}

// setDeadline moves a pod to another scope.
func (w *world) setDeadline() {
	if pod := w.scopedPod(); pod != nil && pod.Spec.ActiveDeadlineSeconds == nil {
		pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](maxDeadline)
		w.underQuota(w.Update(w.t.Context(), pod))
	}
}

func (w *world) deleteScoped() {
	if pod := w.somePod(func(p *corev1.Pod) bool { return p.Namespace == scoped && p.DeletionTimestamp == nil }); pod != nil {
		w.ask(pod)
	}
}

// quotas is the promise of ResourceQuotas: no write makes more of anything than
// they allow.
type quotas struct{}

func (quotas) check(s *state, e event) error {
	if e.obj == nil || quotaLimits[e.obj.GetNamespace()] == nil {
		return nil
	}
	for _, q := range all[*corev1.ResourceQuota](s) {
		if q.Namespace != e.obj.GetNamespace() {
			continue
		}
		for name, most := range q.Spec.Hard {
			if countOf(q, name, e.obj, s.now) <= countOf(q, name, e.old, s.now) {
				continue
			}
			if used := s.used(q, name); used > most.MilliValue() {
				return fmt.Errorf("quota %s allows %s of %s, used are %s", q.Name, most.String(), name, resource.NewMilliQuantity(used, most.Format))
			}
		}
	}
	return nil
}

// quotaUnmet says what a quota miscounts once all is at rest, "" if nothing.
func quotaUnmet(s *state, q *corev1.ResourceQuota) string {
	for name, most := range q.Spec.Hard {
		seen, counted := q.Status.Hard[name], q.Status.Used[name]
		if seen.Cmp(most) != 0 {
			return fmt.Sprintf("shows that it allows %s of %s, not %s", seen.String(), name, most.String())
		}
		if used := s.used(q, name); used != counted.MilliValue() {
			return fmt.Sprintf("counts %s of %s, used are %s", counted.String(), name, resource.NewMilliQuantity(used, most.Format))
		}
	}
	return ""
}

// used is how much of a quota's resource the objects of its namespace use, in
// thousandths.
func (s *state) used(q *corev1.ResourceQuota, name corev1.ResourceName) (sum int64) {
	for _, obj := range s.objects {
		if obj.GetNamespace() == q.Namespace {
			sum += countOf(q, name, obj, s.now)
		}
	}
	return sum
}

// countOf is what an object uses of a quota's resource, in thousandths.
func countOf(q *corev1.ResourceQuota, name corev1.ResourceName, obj kinds.Object, now time.Time) int64 {
	const one = 1000
	is := func(names ...corev1.ResourceName) int64 {
		if slices.Contains(names, name) {
			return one
		}
		return 0
	}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		return is("configmaps", "count/configmaps")
	case *batchv1.Job:
		return is("count/jobs.batch")
	case *corev1.PersistentVolumeClaim:
		bare, ofClass := strings.CutPrefix(string(name), *o.Spec.StorageClassName+".storageclass.storage.k8s.io/")
		if bare == "requests.storage" && (ofClass || bare == string(name)) {
			return o.Spec.Resources.Requests.Storage().MilliValue()
		}
		if ofClass {
			name = corev1.ResourceName(bare)
		}
		return is("persistentvolumeclaims", "count/persistentvolumeclaims")
	case *corev1.Pod:
		if !inScopes(q, o) {
			return 0
		}
		if isFinished(o) || overdue(o, now) {
			return is("count/pods")
		}
		requests, limits := o.Spec.Containers[0].Resources.Requests, o.Spec.Containers[0].Resources.Limits
		switch name {
		case "requests.cpu":
			return requests.Cpu().MilliValue()
		case "requests.memory":
			return requests.Memory().MilliValue()
		case "limits.cpu":
			return limits.Cpu().MilliValue()
		}
		return is("pods", "count/pods")
	}
	return 0
}

// overdue says whether a pod should have ended by now.
func overdue(pod *corev1.Pod, now time.Time) bool {
	return pod.DeletionTimestamp != nil && now.After(pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds)*time.Second))
}

func inScopes(q *corev1.ResourceQuota, pod *corev1.Pod) bool {
	bestEffort, terminating := len(pod.Spec.Containers[0].Resources.Requests) == 0, pod.Spec.ActiveDeadlineSeconds != nil
	for _, scope := range q.Spec.Scopes {
		if !map[corev1.ResourceQuotaScope]bool{
			corev1.ResourceQuotaScopeBestEffort: bestEffort, corev1.ResourceQuotaScopeNotBestEffort: !bestEffort,
			corev1.ResourceQuotaScopeTerminating: terminating, corev1.ResourceQuotaScopeNotTerminating: !terminating,
		}[scope] {
			return false
		}
	}
	return q.Spec.ScopeSelector == nil || pod.Spec.PriorityClassName == important
}
