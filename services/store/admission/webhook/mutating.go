package webhook

import (
	"context"
	"encoding/json"
	"fmt"

	reviewv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/subject"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/jsonpatch"
)

// mutating is the rule that asks mutating hooks, one after the other.
type mutating struct{ dispatcher }

// Validate implements admission.Plugin.
func (*mutating) Validate(context.Context, *admission.Request) error { return nil }

// memory is what is noted between the rounds of a request.
type memory struct {
	// last is the object as the hooks left it.
	last kinds.Object
	// before are the keys of hooks that want to see what was changed after them,
	// and due of those of them after which something was.
	before, due map[string]bool
}

// changed makes the hooks so far due.
func (m *memory) changed() {
	for h := range m.before {
		m.due[h] = true
	}
	clear(m.before)
}

// Mutate implements admission.Plugin.
func (m *mutating) Mutate(ctx context.Context, r *admission.Request) error {
	hooks, err := m.hooks(ctx, r)
	if err != nil || len(hooks) == 0 {
		return err
	}
	notes := r.Rounds.Note(m, func() any { return &memory{before: map[string]bool{}, due: map[string]bool{}} }).(*memory)
	if r.Rounds.Second() && !equality.Semantic.DeepEqual(notes.last, r.Object) {
		notes.changed() // by the other rules
	}
	for n, h := range hooks {
		if err := m.ask(ctx, n, h, r, notes); err != nil {
			return err
		}
	}
	if r.Rounds.Changed() {
		notes.last, _ = r.Object.DeepCopyObject().(kinds.Object)
	}
	return nil
}

// ask asks one hook, the nth of all, if it matches and, in the second round, is
// due.
func (m *mutating) ask(ctx context.Context, n int, h *hook, r *admission.Request, notes *memory) error {
	if r.Rounds.Second() && !notes.due[h.key()] {
		return nil
	}
	i, err := m.match(ctx, h, r)
	if err != nil || i == nil {
		return err
	}
	at := place{n: n}
	if r.Rounds.Second() {
		at.round = 1
	}
	changed, err := i.mutate(ctx, at)
	i.noteMutation(at, changed)
	if err != nil && !m.admits(ctx, h, r, at.key(mutationPrefix), err) {
		return refusal(err)
	}
	if err != nil {
		return outOfTime(ctx)
	}
	if changed {
		notes.changed()
		r.Rounds.Change()
	}
	if h.spec.again {
		notes.before[h.key()] = true
	}
	return nil
}

// mutate asks the hook and applies its patch. It says whether that changed the
// object.
func (i *invocation) mutate(ctx context.Context, at place) (bool, error) {
	response, err := i.call(ctx, true)
	if err != nil || len(response.Patch) == 0 {
		return false, err
	}
	patch, err := jsonpatch.Decode(response.Patch)
	if err != nil {
		return false, i.failed("received undecodable patch in webhook response: %w", err)
	}
	switch {
	case len(patch) == 0:
		return false, nil
	case i.request.Object == nil:
		return false, fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", i.hook.spec.Name)
	case *response.PatchType != reviewv1.PatchTypeJSONPatch:
		return false, &callError{webhook: i.hook.spec.Name, err: fmt.Errorf("unsupported patch type %q", *response.PatchType)}
	}
	changed, err := i.apply(patch)
	if err == nil {
		i.notePatch(at, response.Patch)
	}
	return changed, err
}

// apply changes the request's object by a patch.
func (i *invocation) apply(patch jsonpatch.Patch) (bool, error) {
	before, err := i.view(i.request.Object)
	if err != nil {
		return false, err
	}
	document, err := json.Marshal(before)
	if err != nil {
		return false, fmt.Errorf("encode the object for its patch: %w", err)
	}
	if document, err = jsonpatch.Apply(document, patch); err != nil {
		return false, err
	}
	after, err := i.decode(document)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if equality.Semantic.DeepEqual(before, after) {
		return false, nil
	}
	if err := subject.Take(i.request, i.kind, after); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return true, nil
}

// decode reads a patched object and fills in what the patch left out.
func (i *invocation) decode(document []byte) (kinds.Object, error) {
	own := !i.request.ObjectKind.Empty()
	var after kinds.Object
	if own {
		after = empty(i.request.Object)
	} else {
		after = i.kind.New()
	}
	if i.kind.Custom != nil && !own {
		_, err := codec.DecodeCustom(document, i.kind, after, storev1.FieldValidation_FIELD_VALIDATION_IGNORE)
		return after, err
	}
	if _, err := codec.DecodeJSON(document, after, i.objectKind(), storev1.FieldValidation_FIELD_VALIDATION_IGNORE); err != nil {
		return nil, err
	}
	if fill := i.kind.Strategy.Default; fill != nil && !own {
		fill(after)
	}
	return after, nil
}
