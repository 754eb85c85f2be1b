package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/jsonpatch"
)

// maxPatchOperations bounds the work one JSON patch can ask for.
const maxPatchOperations = 10_000

// PatchOptions qualify a Patch.
type PatchOptions struct {
	Type       storev1.PatchType
	Patch      []byte
	Validation storev1.FieldValidation
	// Force makes an apply take fields over from other managers.
	Force bool
	// MayCreate is asked before an apply creates the object; nil allows it.
	MayCreate func() error
}

// Patch changes an object by a patch and returns warnings about fields that
// the patch has twice, or the result too many.
func (r *Registry) Patch(ctx context.Context, w Write, opts PatchOptions) (v *cache.Version, warnings []string, err error) {
	repeated, err := checkPatch(opts)
	if err != nil {
		return nil, nil, err
	}
	if w.Kind.Custom != nil && opts.Type == storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE {
		return nil, nil, unsupportedPatch()
	}
	v, err = r.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		before, err := cur.JSON()
		if err != nil {
			return nil, err
		}
		obj := w.Kind.New()
		if w.Kind.Custom != nil {
			warnings, err = patchCustom(before, opts, obj, w.Kind)
		} else {
			warnings, err = patchInto(before, opts, obj, w.Kind.GVK())
		}
		return obj, err
	})
	return v, append(repeated, warnings...), err
}

// patchInto decodes a patched document into obj, which is empty.
func patchInto(document []byte, opts PatchOptions, obj kinds.Object, gvk schema.GroupVersionKind) (warnings []string, err error) {
	after, err := ApplyPatch(document, opts, obj)
	if err != nil {
		return nil, err
	}
	warnings, err = codec.DecodeJSON(after, obj, gvk, opts.Validation)
	if err != nil {
		return nil, unusable(after, err)
	}
	return warnings, nil
}

// patchCustom is patchInto for an object of a custom kind.
func patchCustom(document []byte, opts PatchOptions, obj kinds.Object, kind *kinds.Kind) (warnings []string, err error) {
	after, err := ApplyPatch(document, opts, obj)
	if err != nil {
		return nil, err
	}
	warnings, err = codec.DecodeCustom(after, kind, obj, opts.Validation)
	if err != nil {
		return nil, unusable(after, err)
	}
	return warnings, nil
}

// maxShownPatch is how much of what a patch led to is quoted in an error.
const maxShownPatch = 1024

// unusable is the error of a patch that leads to what is no object.
func unusable(after []byte, err error) error {
	shown := string(after)
	if len(shown) > maxShownPatch {
		shown = strings.ToValidUTF8(shown[:maxShownPatch], "") + "…"
	}
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, codec.WhyUnreadable(err).Error())})
}

// jsonOperation is an operation of a JSON patch, to find fields that it should
// not have.
type jsonOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// checkPatch refuses what is no patch, and judges fields that a patch has
// twice: what is lost to them cannot be seen in the result.
func checkPatch(opts PatchOptions) (warnings []string, err error) {
	var strict []error
	if d := depth(opts.Patch); d > maxPatchDepth {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: it nests %d levels deep, at most %d are allowed", d, maxPatchDepth))
	}
	if opts.Type == storev1.PatchType_PATCH_TYPE_JSON {
		var ops []jsonOperation
		if strict, err = kjson.UnmarshalStrict(opts.Patch, &ops); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		if ops == nil {
			return nil, apierrors.NewBadRequest("error decoding patch: it is not a list of operations")
		}
		if err := checkPaths(ops); err != nil {
			return nil, err
		}
		for i, err := range strict {
			strict[i] = fmt.Errorf("json patch %w", err)
		}
	} else {
		var fields map[string]any
		if strict, err = kjson.UnmarshalStrict(opts.Patch, &fields); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		if fields == nil {
			return nil, apierrors.NewBadRequest("error decoding patch: it is not a JSON object")
		}
	}
	if len(strict) == 0 || opts.Validation == storev1.FieldValidation_FIELD_VALIDATION_IGNORE {
		return nil, nil
	}
	for _, err := range strict {
		warnings = append(warnings, err.Error())
	}
	if opts.Validation == storev1.FieldValidation_FIELD_VALIDATION_STRICT {
		return nil, unusable(opts.Patch, errors.New("strict decoding error: "+strings.Join(warnings, ", ")))
	}
	return warnings, nil
}

// checkPaths refuses operations that reach too deep.
func checkPaths(ops []jsonOperation) error {
	for i, op := range ops {
		if d := max(strings.Count(op.Path, "/"), strings.Count(op.From, "/")); d > maxPatchDepth {
			return apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: operation %d reaches %d levels deep, at most %d are allowed", i, d, maxPatchDepth))
		}
	}
	return nil
}

// ApplyPatch returns a JSON document changed by a patch. schema is an object
// of the document's type: it tells a strategic merge how lists merge.
func ApplyPatch(document []byte, opts PatchOptions, schema any) ([]byte, error) {
	switch opts.Type {
	case storev1.PatchType_PATCH_TYPE_JSON:
		return applyJSONPatch(document, opts.Patch)
	case storev1.PatchType_PATCH_TYPE_MERGE:
		after, err := mergePatch(document, opts.Patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		return after, nil
	case storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE:
		after, err := strategicpatch.StrategicMergePatch(document, opts.Patch, schema)
		switch {
		case errors.Is(err, mergepatch.ErrNoListOfLists):
			return nil, unprocessable(err)
		case err != nil:
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	}
	return nil, unsupportedPatch()
}

// unsupportedPatch is the error of a type of patch that a kind does not take.
func unsupportedPatch() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
	}}
}

func applyJSONPatch(document, patch []byte) ([]byte, error) {
	var ops []json.RawMessage
	if err := json.Unmarshal(patch, &ops); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if len(ops) > maxPatchOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(ops)))
	}
	decoded, err := jsonpatch.Decode(patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	after, err := jsonpatch.Apply(document, decoded)
	var grown *jsonpatch.TooLargeError
	switch {
	case errors.As(err, &grown):
		return nil, apierrors.NewRequestEntityTooLargeError(err.Error())
	case err != nil:
		return nil, unprocessable(err)
	}
	return after, nil
}

// unprocessable is the error of a patch that does not fit the object.
func unprocessable(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: fmt.Sprintf("the server rejected our request due to an error in our request: %v", err),
	}}
}
