// Package customresourcedefinition decides which names of custom resource
// definitions are free to be theirs, establishes them, and lets definitions
// that are being deleted go once none of their objects is left.
//
// The Stores serve the objects of a definition once its condition Established
// is true. There is one leader, so that of two definitions that want a name
// one gets it.
package customresourcedefinition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
)

// settleTime is when a definition is looked at again whose last objects have
// been asked to go.
const settleTime = time.Second

type condition = apiextensionsv1.CustomResourceDefinitionCondition

type reconciler struct {
	client      *client.Client
	definitions *client.Informer[*kinds.Definition]
	written     *runner.Barrier[*kinds.Definition]
}

// New returns the controller. Its keys name definitions.
func New(deps runner.Deps, inv *inventory.Inventory) (*runner.Controller, error) {
	definitions, err := client.InformerFor[*kinds.Definition](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, definitions: definitions, written: runner.NewBarrier(definitions)}
	// One at a time: each looks at the names that the others have been given.
	c := runner.New("customresourcedefinition", r, deps, runner.Options{Trace: definitions.TraceContext, Workers: 1})
	runner.Watch(c, definitions, runner.Input[*kinds.Definition]{Keys: r.concerned})
	inv.AddHandler(inventory.Handler{
		OnAdd: func(inventory.Found) {}, OnUpdate: func(*inventory.Object, inventory.Found) {},
		OnDelete: func(obj inventory.Found) {
			if obj.Kind.Custom == nil {
				return
			}
			name := obj.Kind.Resource + "." + obj.Kind.Group
			if d, ok := definitions.GetByKey(name); ok && d.DeletionTimestamp != nil {
				c.Enqueue(name)
			}
		},
	})
	return c, nil
}

// concerned are the definitions that a definition's names may be in the way of,
// itself among them.
func (r *reconciler) concerned(d *kinds.Definition) []string {
	keys := []string{d.Name}
	for _, other := range r.definitions.List() {
		if other.Spec.Group == d.Spec.Group && other.Name != d.Name && !kinds.IsTrue(other, apiextensionsv1.NamesAccepted) {
			keys = append(keys, other.Name)
		}
	}
	return keys
}

// Reconcile looks at one definition.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	d, ok := r.definitions.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	// What was written last may not have been seen yet, here or of another
	// definition; its arrival brings us back.
	for _, other := range r.definitions.List() {
		if !r.written.Passed(other.Name) {
			return runner.RequeueAfter(10 * time.Millisecond), nil
		}
	}
	if d.DeletionTimestamp != nil {
		return r.end(ctx, d.DeepCopy())
	}
	changed := d.DeepCopy()
	r.name(changed)
	checkStructure(changed)
	if equality.Semantic.DeepEqual(changed.Status, d.Status) {
		return runner.Done(), nil
	}
	return runner.Done(), r.write(ctx, changed)
}

func (r *reconciler) write(ctx context.Context, d *kinds.Definition) error {
	err := r.client.UpdateStatus(ctx, d)
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return nil // it has changed, which brings us back
	case err != nil:
		return fmt.Errorf("write the status of %s: %w", d.Name, err)
	}
	r.written.Wrote(d.Name, d)
	return nil
}

// name gives a definition those of the names that it asks for which are free,
// and establishes it when all are. A definition that has been established stays
// so.
func (r *reconciler) name(d *kinds.Definition) {
	resources, kindNames := r.taken(d)
	want, have := d.Spec.Names, d.Status.AcceptedNames
	got := have
	accepted := condition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found"}
	ask := func(name, own string, taken map[string]bool, give *string, reason string) {
		if name != own && taken[name] {
			accepted.Status, accepted.Reason, accepted.Message = apiextensionsv1.ConditionFalse, reason, inUse(name)
			return
		}
		*give = name
	}
	ask(want.Plural, have.Plural, resources, &got.Plural, "PluralConflict")
	ask(want.Singular, have.Singular, resources, &got.Singular, "SingularConflict")
	var conflicts []string
	for _, name := range want.ShortNames {
		if !slices.Contains(have.ShortNames, name) && resources[name] {
			conflicts = append(conflicts, inUse(name))
		}
	}
	if len(conflicts) > 0 {
		accepted.Status, accepted.Reason, accepted.Message = apiextensionsv1.ConditionFalse, "ShortNamesConflict", strings.Join(conflicts, ", ")
	} else {
		got.ShortNames = want.ShortNames
	}
	ask(want.Kind, have.Kind, kindNames, &got.Kind, "KindConflict")
	ask(want.ListKind, have.ListKind, kindNames, &got.ListKind, "ListKindConflict")
	got.Categories = want.Categories
	d.Status.AcceptedNames = got
	kinds.SetCondition(d, accepted)
	switch {
	case kinds.IsTrue(d, apiextensionsv1.Established):
	case accepted.Status == apiextensionsv1.ConditionTrue:
		kinds.SetCondition(d, condition{
			Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, Reason: "InitialNamesAccepted", Message: "the initial names have been accepted",
		})
	default:
		kinds.SetCondition(d, condition{
			Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted",
		})
	}
}

func inUse(name string) string { return fmt.Sprintf("%q is already in use", name) }

// taken returns the names of resources and of kinds that other definitions of
// the group have been given.
func (r *reconciler) taken(d *kinds.Definition) (resources, kindNames map[string]bool) {
	resources, kindNames = make(map[string]bool), make(map[string]bool)
	for _, other := range r.definitions.List() {
		if other.Spec.Group != d.Spec.Group || other.Name == d.Name {
			continue
		}
		names := &other.Status.AcceptedNames
		for _, name := range append([]string{names.Plural, names.Singular}, names.ShortNames...) {
			resources[name] = true
		}
		kindNames[names.Kind], kindNames[names.ListKind] = true, true
	}
	delete(resources, "")
	delete(kindNames, "")
	return resources, kindNames
}

// end deletes the objects of a definition that is being deleted, and takes the
// finalizer off once none is left.
func (r *reconciler) end(ctx context.Context, d *kinds.Definition) (runner.Outcome, error) {
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return runner.Done(), nil
	}
	made := kinds.FromDefinition(d)
	if len(made) > 0 {
		left, err := r.empty(ctx, made[0])
		if err != nil {
			return runner.Done(), errors.Join(err, r.terminating(ctx, d, "InstanceDeletionFailed", fmt.Sprintf("could not delete instances: %v", err)))
		}
		if left {
			return runner.RequeueAfter(settleTime), r.terminating(ctx, d, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
		}
	}
	d.Finalizers = slices.DeleteFunc(d.Finalizers, func(f string) bool { return f == apiextensionsv1.CustomResourceCleanupFinalizer })
	err := r.client.Update(ctx, d)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return runner.Done(), fmt.Errorf("let %s go: %w", d.Name, err)
	}
	return runner.Done(), nil
}

// empty deletes all objects of a kind. It says whether there were any left.
func (r *reconciler) empty(ctx context.Context, kind *kinds.Kind) (bool, error) {
	objs, err := r.client.ListMetadata(ctx, kind, "")
	if apierrors.IsNotFound(err) {
		return false, nil // no Store serves it any longer, none can have made more
	}
	if err != nil {
		return false, fmt.Errorf("list the %s that are left: %w", kind.GroupResource(), err)
	}
	var errs []error
	asked := make(map[string]bool)
	for _, obj := range objs {
		if asked[obj.Namespace] || obj.DeletionTimestamp != nil {
			continue
		}
		asked[obj.Namespace] = true
		err := r.client.DeleteCollection(ctx, kind, obj.Namespace, client.DeleteOptions{Propagation: metav1.DeletePropagationBackground})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete all %s: %w", kind.GroupResource(), err))
		}
	}
	return len(objs) > 0, errors.Join(errs...)
}

// terminating says on a definition how far its end has come.
func (r *reconciler) terminating(ctx context.Context, d *kinds.Definition, reason, message string) error {
	if !kinds.SetCondition(d, condition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: reason, Message: message}) {
		return nil
	}
	return r.write(ctx, d)
}
