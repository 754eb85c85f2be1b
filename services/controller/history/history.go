// Package history keeps the versions of a workload's pod template as
// ControllerRevisions, which pods name in the label controller-revision-hash
// and kubectl rollout history and undo read.
package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/quantities"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/runner"
)

// History is the revisions of one kind of workload.
type History struct {
	Client    *client.Client
	Revisions *client.Informer[*appsv1.ControllerRevision]

	relation *ownership.Relation[*appsv1.ControllerRevision]
}

// New returns the history of a kind of workload.
func New[O kinds.Object](deps runner.Deps, workloads *client.Informer[O], selects func(O) (labels.Selector, error)) (*History, error) {
	revisions, err := client.InformerFor[*appsv1.ControllerRevision](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	relation, err := ownership.Relate[*appsv1.ControllerRevision](deps.Informers, workloads, selects)
	if err != nil {
		return nil, err
	}
	return &History{Client: deps.Client, Revisions: revisions, relation: relation}, nil
}

// Watch makes the revisions an input of the workloads' controller.
func (h *History) Watch(c *runner.Controller) {
	runner.Watch(c, h.Revisions, runner.Input[*appsv1.ControllerRevision]{Keys: h.relation.Keys})
}

// Workload is whose history is meant.
type Workload struct {
	Owner    kinds.Object
	Kind     *kinds.Kind
	Selector *metav1.LabelSelector
	Template *corev1.PodTemplateSpec
	// Collisions is how many names of revisions were found taken.
	Collisions *int32
}

// CollisionError says that a revision's name is taken by another: the workload's
// collision count must rise.
type CollisionError struct{ Name string }

func (c CollisionError) Error() string {
	return "revision name " + c.Name + " is taken: will try another"
}

// Sync makes sure that the workload's template is its newest revision. It
// returns that revision and all, oldest first.
func (h *History) Sync(ctx context.Context, w Workload) (newest *appsv1.ControllerRevision, all []*appsv1.ControllerRevision, err error) {
	if all, err = h.claim(ctx, w); err != nil {
		return nil, nil, err
	}
	data, err := patchOf(w.Template)
	if err != nil {
		return nil, nil, err
	}
	var next int64 = 1
	if len(all) > 0 {
		next = all[len(all)-1].Revision + 1
	}
	// Of several, which somebody else must have made, the newest.
	i := len(all) - 1
	for i >= 0 && !bytes.Equal(all[i].Data.Raw, data) {
		i--
	}
	switch {
	case i >= 0 && i == len(all)-1:
		return all[i], all, nil
	case len(all) > 0 && saysTheSame(all[len(all)-1], w.Template):
		return all[len(all)-1], all, nil
	case i >= 0: // an old template again
		newest = all[i].DeepCopy()
		newest.Revision = next
		if err := h.Client.Update(ctx, newest); err != nil {
			return nil, nil, fmt.Errorf("renew revision %s: %w", newest.Name, err)
		}
		all = slices.Delete(all, i, i+1)
	default:
		if newest, err = h.create(ctx, w, data, next); err != nil {
			return nil, nil, err
		}
	}
	return newest, append(all, newest), nil
}

// claim returns the workload's revisions, oldest first.
func (h *History) claim(ctx context.Context, w Workload) ([]*appsv1.ControllerRevision, error) {
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return nil, fmt.Errorf("read the selector: %w", err)
	}
	candidates, err := h.relation.Candidates(w.Owner, selector)
	if err != nil {
		return nil, err
	}
	all, err := ownership.Claim(ctx, ownership.Claimer{Client: h.Client, Owner: w.Owner, Selector: selector}, candidates)
	slices.SortFunc(all, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Name, b.Name))
	})
	return all, err
}

// saysTheSame says whether a revision is of a template but for defaults that did not
// apply when it was made, or another way to write it. A workload that is changed after
// an upgrade in other ways than its template must not be rolled out anew.
func saysTheSame(r *appsv1.ControllerRevision, template *corev1.PodTemplateSpec) bool {
	old, err := TemplateOf(r)
	if err != nil {
		return false
	}
	fresh := template.DeepCopy()
	podspec.SetDefaults(&old.Spec)
	podspec.SetDefaults(&fresh.Spec)
	was, errWas := patchOf(old)
	is, errIs := patchOf(fresh)
	return errWas == nil && errIs == nil && bytes.Equal(was, is)
}

// TemplateOf reads the pod template from a revision.
func TemplateOf(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := quantities.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", r.Name, err)
	}
	return &patch.Spec.Template, nil
}

// patchOf is the strategic merge patch that brings the template back.
func patchOf(template *corev1.PodTemplateSpec) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	if err != nil {
		return nil, fmt.Errorf("encode the pod template: %w", err)
	}
	fields["$patch"] = "replace"
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
	if err != nil {
		return nil, fmt.Errorf("encode the pod template: %w", err)
	}
	return data, nil
}

func (h *History) create(ctx context.Context, w Workload, data []byte, revision int64) (*appsv1.ControllerRevision, error) {
	sum := fnv.New32a()
	sum.Write(data)
	if w.Collisions != nil {
		fmt.Fprint(sum, *w.Collisions)
	}
	hash := rand.SafeEncodeString(fmt.Sprint(sum.Sum32()))
	l := labels.Merge(w.Template.Labels, labels.Set{appsv1.ControllerRevisionHashLabelKey: hash})
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Owner.GetNamespace(), Name: w.Owner.GetName() + "-" + hash, Labels: l,
			Annotations:     copyAnnotations(w.Owner.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.Owner, w.Kind.GVK())},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: revision,
	}
	err := h.Client.Create(ctx, r)
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			return nil, fmt.Errorf("create revision %s: %w", r.Name, err)
		}
		return r, nil
	}
	taken := &appsv1.ControllerRevision{}
	if err := h.Client.Get(ctx, r.Namespace, r.Name, taken); err != nil {
		return nil, fmt.Errorf("read the revision in the new one's place: %w", err)
	}
	if metav1.IsControlledBy(taken, w.Owner) && bytes.Equal(taken.Data.Raw, data) {
		return taken, nil // ours; the informer has not shown it yet
	}
	return nil, CollisionError{r.Name}
}

func copyAnnotations(from map[string]string) map[string]string {
	to := make(map[string]string, len(from))
	for k, v := range from {
		if k != corev1.LastAppliedConfigAnnotation {
			to[k] = v
		}
	}
	return to
}

// Hash is the value of the label that names a revision.
func Hash(r *appsv1.ControllerRevision) string {
	return r.Labels[appsv1.ControllerRevisionHashLabelKey]
}

// CleanUp deletes the oldest revisions beyond the limit. The newest and those
// in use, by hash, stay and do not count. A negative limit is none.
func (h *History) CleanUp(ctx context.Context, all []*appsv1.ControllerRevision, limit *int32, inUse map[string]bool) error {
	if limit == nil || *limit < 0 || len(all) == 0 {
		return nil
	}
	old := slices.DeleteFunc(slices.Clone(all[:len(all)-1]), func(r *appsv1.ControllerRevision) bool { return inUse[Hash(r)] })
	for _, r := range old[:max(len(old)-int(*limit), 0)] {
		err := h.Client.Delete(ctx, r, client.DeleteOptions{UID: r.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete old revision %s: %w", r.Name, err)
		}
	}
	return nil
}
