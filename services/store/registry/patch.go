package registry

import (
	"context"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
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

// Patch changes an object by a patch and returns warnings about the fields
// that the result has too many.
func (r *Registry) Patch(ctx context.Context, w Write, opts PatchOptions) (v *cache.Version, warnings []string, err error) {
	v, err = r.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		before, err := cur.JSON()
		if err != nil {
			return nil, err
		}
		after, err := ApplyPatch(before, opts, w.Kind.New())
		if err != nil {
			return nil, err
		}
		obj := w.Kind.New()
		warnings, err = codec.DecodeJSON(after, obj, w.Kind.GVK(), opts.Validation)
		return obj, err
	})
	return v, warnings, err
}

// ApplyPatch returns a JSON document changed by a patch. schema is an object
// of the document's type: it tells a strategic merge how lists merge.
func ApplyPatch(document []byte, opts PatchOptions, schema any) ([]byte, error) {
	switch opts.Type {
	case storev1.PatchType_PATCH_TYPE_JSON:
		return applyJSONPatch(document, opts.Patch)
	case storev1.PatchType_PATCH_TYPE_MERGE:
		after, err := jsonpatch.MergePatch(document, opts.Patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		return after, nil
	case storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE:
		after, err := strategicpatch.StrategicMergePatch(document, opts.Patch, schema)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
	}}
}

func applyJSONPatch(document, patch []byte) ([]byte, error) {
	ops, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if len(ops) > maxPatchOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(ops)))
	}
	after, err := ops.Apply(document)
	if err != nil {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: fmt.Sprintf("the server rejected our request due to an error in our request: %v", err),
		}}
	}
	return after, nil
}
