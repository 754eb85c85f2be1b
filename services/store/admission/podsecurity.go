package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission/podsecurity"
)

// mostJudgedPods is how many of a namespace's pods are judged when its policy
// changes.
const mostJudgedPods = 3000

// podSecurity applies the Pod Security Standards that a namespace's labels
// ask for. Pods are refused, templates of pods only warned about.
type podSecurity struct {
	noMutation
	reader access.Reader
}

// Validate implements Plugin.
func (p podSecurity) Validate(ctx context.Context, r *Request) error {
	switch obj := r.Object.(type) {
	case *corev1.Namespace:
		if r.Subresource != "" {
			return nil
		}
		return p.judgeLabels(ctx, r, obj)
	case *corev1.Pod:
		switch r.Subresource {
		case "", "ephemeralcontainers", resizeSubresource:
		default:
			return nil
		}
		if old, ok := r.Old.(*corev1.Pod); ok && !changesImages(&old.Spec, &obj.Spec) {
			return nil
		}
		return p.judge(ctx, r, &obj.ObjectMeta, &obj.Spec, true)
	}
	if template := templateOf(r.Object); template != nil && r.Subresource == "" {
		return p.judge(ctx, r, &template.ObjectMeta, &template.Spec, false)
	}
	return nil
}

// templateOf returns the template of the pods that a workload makes, nil for
// what makes none.
func templateOf(obj kinds.Object) *corev1.PodTemplateSpec {
	switch o := obj.(type) {
	case *corev1.PodTemplate:
		return &o.Template
	case *corev1.ReplicationController:
		return o.Spec.Template
	case *appsv1.ReplicaSet:
		return &o.Spec.Template
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// judge judges a pod, or what will be one, by its namespace's policy.
func (p podSecurity) judge(ctx context.Context, r *Request, meta *metav1.ObjectMeta, spec *corev1.PodSpec, enforce bool) error {
	ns, err := p.reader.Get(ctx, schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, "", r.Namespace)
	if err != nil {
		return err
	}
	policy, errs := podsecurity.PolicyOf(ns.GetLabels())
	if len(errs) > 0 {
		r.Annotations.Add(podsecurity.ErrorAnnotation, fmt.Sprintf("Failed to parse policy: %v", errs.ToAggregate()))
	}
	if enforce {
		r.Annotations.Add(podsecurity.EnforcedAnnotation, policy.Enforce.String())
	}
	if policy.Allows() {
		return nil
	}
	// What is demanded twice is judged once.
	known := make(map[podsecurity.Standard]podsecurity.Violations, 2)
	evaluate := func(standard podsecurity.Standard) podsecurity.Violations {
		if found, ok := known[standard]; ok {
			return found
		}
		known[standard] = standard.Evaluate(meta, spec)
		return known[standard]
	}
	if r.Annotations.Wanted() {
		if found := evaluate(policy.Audit); len(found) > 0 {
			r.Annotations.Add(podsecurity.ViolationsAnnotation, fmt.Sprintf("would violate PodSecurity %q: %s", policy.Audit, found))
		}
	}
	if enforce {
		if found := evaluate(policy.Enforce); len(found) > 0 {
			return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), fmt.Errorf("violates PodSecurity %q: %s", policy.Enforce, found))
		}
	}
	if found := evaluate(policy.Warn); len(found) > 0 {
		r.Warnings.Add(fmt.Sprintf("would violate PodSecurity %q: %s", policy.Warn, found))
	}
	return nil
}

// changesImages says whether an update of a pod brings in anything new to
// run: all that the standards are about, but for the ephemeral containers, is
// immutable.
func changesImages(old, now *corev1.PodSpec) bool {
	images := func(spec *corev1.PodSpec) map[string]string {
		all := make(map[string]string)
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			all[c.Name] = c.Image
		}
		for _, c := range spec.EphemeralContainers {
			all[c.Name] = c.Image
		}
		return all
	}
	return !maps.Equal(images(old), images(now))
}

// judgeLabels refuses labels that make no sense, and tells who tightens a
// namespace's policy which of its pods break it.
func (p podSecurity) judgeLabels(ctx context.Context, r *Request, ns *corev1.Namespace) error {
	policy, errs := podsecurity.PolicyOf(ns.Labels)
	old, isUpdate := r.Old.(*corev1.Namespace)
	if !isUpdate {
		if len(errs) > 0 {
			return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Title(), errs)
		}
		return nil
	}
	before, oldErrs := podsecurity.PolicyOf(old.Labels)
	if len(errs) > 0 && !equality.Semantic.DeepEqual(errs, oldErrs) {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Title(), errs)
	}
	if !policy.Tightens(before) {
		return nil
	}
	return p.warnOfPods(ctx, r, policy.Enforce)
}

// warnOfPods warns of a namespace's pods that break a standard.
func (p podSecurity) warnOfPods(ctx context.Context, r *Request, standard podsecurity.Standard) error {
	objs, err := p.reader.List(ctx, schema.GroupVersionResource{Version: "v1", Resource: "pods"}, r.Name)
	if err != nil {
		return err
	}
	pods := variousFirst(objs)
	if len(pods) > mostJudgedPods {
		r.Warnings.Add(fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", mostJudgedPods, len(pods)))
		pods = pods[:mostJudgedPods]
	}
	names := make(map[string][]string) // by what is wrong
	for _, pod := range pods {
		if found := standard.Evaluate(&pod.ObjectMeta, &pod.Spec); len(found) > 0 {
			names[found.Reasons()] = append(names[found.Reasons()], pod.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	r.Warnings.Add(fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", r.Name, standard))
	var lines []string
	for reasons, broken := range names {
		line := slices.Min(broken)
		switch others := len(broken) - 1; others {
		case 0:
		case 1:
			line += " (and 1 other pod)"
		default:
			line += fmt.Sprintf(" (and %d other pods)", others)
		}
		lines = append(lines, line+": "+reasons)
	}
	slices.Sort(lines)
	for _, line := range lines {
		r.Warnings.Add(line)
	}
	return nil
}

// variousFirst orders pods so that one of each controller comes before the
// others of its kind, which are likely the same.
func variousFirst(objs []kinds.Object) []*corev1.Pod {
	var first, rest []*corev1.Pod
	seen := make(map[types.UID]bool)
	for _, obj := range objs {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			continue
		}
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner != nil && seen[owner.UID] {
			rest = append(rest, pod)
			continue
		}
		if owner != nil {
			seen[owner.UID] = true
		}
		first = append(first, pod)
	}
	return append(first, rest...)
}
