// Package deletion says what holds an object back that has been deleted and is
// still there: finalizers, dependents, the contents of a namespace, or the
// node that has yet to stop a pod.
package deletion

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Blocker is one thing that an object's deletion waits for.
type Blocker struct {
	// What it waits for, for example "finalizer kubernetes.io/pvc-protection".
	What string `json:"what"`
	// Holder is who has to act.
	Holder string `json:"holder"`
	// Details name what stands behind it: pods, dependents, contents.
	Details []string `json:"details,omitempty"`
	// Release is what would let the object go.
	Release string `json:"release"`
}

// Since returns when an object was deleted; the zero time if it was not.
func Since(obj kinds.Object) time.Time {
	at := obj.GetDeletionTimestamp()
	if at == nil {
		return time.Time{}
	}
	since := at.Time
	if grace := obj.GetDeletionGracePeriodSeconds(); grace != nil {
		since = since.Add(-time.Duration(*grace) * time.Second)
	}
	return since
}

// Inspector finds blockers by reading a cluster.
type Inspector struct {
	client *client.Client
	kinds  *kinds.Registry
	now    func() time.Time
}

// NewInspector returns an Inspector that reads through c, and looks for dependents
// among the objects of registry's kinds.
func NewInspector(c *client.Client, registry *kinds.Registry) *Inspector {
	return &Inspector{client: c, kinds: registry, now: time.Now}
}

// Blockers returns what the deletion of an object waits for, nothing if it is
// about to go. obj must be being deleted.
func (i *Inspector) Blockers(ctx context.Context, kind *kinds.Kind, obj kinds.Object) ([]Blocker, error) {
	var out []Blocker
	for _, f := range obj.GetFinalizers() {
		b, err := i.finalizer(ctx, kind, obj, f)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	switch o := obj.(type) {
	case *corev1.Namespace:
		for _, f := range o.Spec.Finalizers {
			out = append(out, namespaceFinalizer(o, f))
		}
	case *corev1.Pod:
		if o.Spec.NodeName != "" {
			b, err := i.node(ctx, o)
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		}
	}
	return out, nil
}

// finalizer says who takes a finalizer off, and when.
func (i *Inspector) finalizer(ctx context.Context, kind *kinds.Kind, obj kinds.Object, name string) (b Blocker, err error) {
	b = Blocker{What: "finalizer " + name}
	switch name {
	case metav1.FinalizerDeleteDependents:
		b.Holder = "the garbage collector, which deletes the dependents first"
		b.Release = "the end of the dependents whose ownerReference has blockOwnerDeletion"
		b.Details, err = i.dependents(ctx, kind, obj)
	case metav1.FinalizerOrphanDependents:
		b.Holder = "the garbage collector, which takes the ownerReferences off the dependents first"
		b.Release = "the garbage collector's next pass: it needs a running Controller"
	case "kubernetes.io/pvc-protection":
		b.Holder = "the controller pvc-protection, as long as a pod uses the claim"
		b.Release = "the end of these pods"
		b.Details, err = i.podsWithClaim(ctx, obj)
	case "kubernetes.io/pv-protection":
		b.Holder = "the controller pv-protection, as long as a claim is bound to the volume"
		b.Release = "the deletion of the claim"
		if pv, ok := obj.(*corev1.PersistentVolume); ok && pv.Spec.ClaimRef != nil {
			b.Details = []string{"persistentvolumeclaim " + pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name}
		}
	case kinds.AttributesClassProtectionFinalizer:
		b.Holder = "the controller vac-protection, as long as a claim or a volume names the class"
		b.Release = "another class of these, or their deletion"
	case "batch.kubernetes.io/job-tracking":
		b.Holder = "the controller job, until it has counted how the pod ended"
		b.Release = "the Job's next reconciling; if the Job is gone, taking the finalizer off"
	default:
		b.Holder = holderOf(obj, name)
		b.Release = "that it takes the finalizer off. If it does not exist any more, by hand: " + removal(kind, obj, name)
	}
	return b, err
}

// holderOf names who works for a finalizer that is not Navarch's own, as far
// as the object tells.
func holderOf(obj kinds.Object, finalizer string) string {
	for _, e := range obj.GetManagedFields() {
		if e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"v:\"`+finalizer+`\""`) {
			return fmt.Sprintf("whoever set it: the field manager %q", e.Manager)
		}
	}
	if domain, _, ok := strings.Cut(finalizer, "/"); ok {
		return "the controller of " + domain
	}
	return "whoever set it"
}

// removal is the command that takes a finalizer off.
func removal(kind *kinds.Kind, obj kinds.Object, name string) string {
	at := slices.Index(obj.GetFinalizers(), name)
	where := ""
	if kind.Namespaced {
		where = " -n " + obj.GetNamespace()
	}
	return fmt.Sprintf(`kubectl patch %s %s%s --type=json -p '[{"op":"test","path":"/metadata/finalizers/%d","value":%q},{"op":"remove","path":"/metadata/finalizers/%d"}]'`,
		kind.Singular, obj.GetName(), where, at, name, at)
}

// dependents lists the objects that hold a foreground deletion up.
func (i *Inspector) dependents(ctx context.Context, owner *kinds.Kind, obj kinds.Object) ([]string, error) {
	var out []string
	for _, kind := range i.kinds.All() {
		if !kind.Stored() || kind.StoredAs != nil || owner.Namespaced && !kind.Namespaced || kind.Kind == "Event" {
			continue
		}
		objs, err := i.client.ListMetadata(ctx, kind, obj.GetNamespace())
		if apierrors.IsForbidden(err) {
			out = append(out, fmt.Sprintf("(you may not list %s)", kind.Resource))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the %s that depend on %s: %w", kind.Resource, obj.GetName(), err)
		}
		for _, o := range objs {
			if blocks(o, obj) {
				out = append(out, describe(kind, o))
			}
		}
	}
	return out, nil
}

func blocks(dependent *metav1.PartialObjectMetadata, owner kinds.Object) bool {
	return slices.ContainsFunc(dependent.OwnerReferences, func(r metav1.OwnerReference) bool {
		return r.UID == owner.GetUID() && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

func describe(kind *kinds.Kind, o *metav1.PartialObjectMetadata) string {
	text := kind.Singular + " " + o.Name
	switch {
	case o.DeletionTimestamp != nil && len(o.Finalizers) > 0:
		text += fmt.Sprintf(" (being deleted, held by %s)", strings.Join(o.Finalizers, ", "))
	case o.DeletionTimestamp != nil:
		text += " (being deleted)"
	}
	return text
}

func (i *Inspector) podsWithClaim(ctx context.Context, claim kinds.Object) ([]string, error) {
	var pods corev1.PodList
	if err := i.client.List(ctx, &pods, client.ListOptions{Namespace: claim.GetNamespace()}); err != nil {
		return nil, fmt.Errorf("list the pods that use claim %s: %w", claim.GetName(), err)
	}
	var out []string
	for _, p := range pods.Items {
		uses := slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.GetName() ||
				v.Ephemeral != nil && p.Name+"-"+v.Name == claim.GetName()
		})
		if uses && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			out = append(out, fmt.Sprintf("pod %s on %s", p.Name, nodeOf(&p)))
		}
	}
	return out, nil
}

func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName == "" {
		return "no node"
	}
	return "node " + p.Spec.NodeName
}

// namespaceFinalizer says what is left in a namespace, as its conditions tell.
func namespaceFinalizer(ns *corev1.Namespace, f corev1.FinalizerName) Blocker {
	b := Blocker{What: fmt.Sprintf("finalizer %s (in spec.finalizers)", f), Holder: "whoever set it", Release: "that it takes the finalizer off, by the subresource finalize"}
	if f != corev1.FinalizerKubernetes {
		return b
	}
	b.Holder, b.Release = "the controller namespace, until everything in the namespace is gone", "the end of what is left in it"
	for _, c := range ns.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			b.Details = append(b.Details, fmt.Sprintf("%s since %s: %s", c.Type, c.LastTransitionTime.UTC().Format(time.RFC3339), c.Message))
		}
	}
	return b
}

// node says what the node of a deleted pod is doing.
func (i *Inspector) node(ctx context.Context, pod *corev1.Pod) (Blocker, error) {
	b := Blocker{What: "its containers", Holder: "the agent of node " + pod.Spec.NodeName}
	force := fmt.Sprintf("kubectl delete pod %s -n %s --grace-period=0 --force", pod.Name, pod.Namespace)
	if left := pod.DeletionTimestamp.Sub(i.now()).Round(time.Second); left > 0 {
		b.Release = fmt.Sprintf("the containers' own end, or their being killed in %s", left)
	} else {
		b.Release = fmt.Sprintf("the agent's word that the containers have stopped, overdue by %s; without it: %s", -left, force)
	}
	var node corev1.Node
	err := i.client.Get(ctx, "", pod.Spec.NodeName, &node)
	switch {
	case apierrors.IsNotFound(err):
		b.Details = []string{"there is no such node any more: the garbage collection of pods will remove the pod"}
	case apierrors.IsForbidden(err):
	case err != nil:
		return b, fmt.Errorf("get the node of pod %s: %w", pod.Name, err)
	default:
		b.Details = append(running(pod), readiness(&node, force)...)
	}
	return b, nil
}

func running(pod *corev1.Pod) []string {
	var out []string
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.State.Running != nil {
			out = append(out, fmt.Sprintf("container %s runs", s.Name))
		}
	}
	return out
}

// readiness says so if the agent cannot act.
func readiness(node *corev1.Node, force string) []string {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return []string{fmt.Sprintf("the node is not ready since %s: %s; if it never comes back: %s",
				c.LastTransitionTime.UTC().Format(time.RFC3339), c.Message, force)}
		}
	}
	return nil
}
