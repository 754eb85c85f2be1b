package rest

import (
	"mime"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// create serves POST on a collection or a subresource.
func (h *Handler) create(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	options, err := parseWriteOptions(r, r.URL.Query(), f, false)
	if err != nil {
		return err
	}
	obj, warnings, err := h.bodyObject(r, options.GetFieldValidation())
	if err != nil {
		return err
	}
	reply.Warnings(w, warnings) // whether it succeeds or not
	resp, err := h.Store.Create(r.Context(), &storev1.CreateRequest{
		Resource: resource(t), Namespace: t.Namespace, Name: t.Name, Subresource: t.Subresource, Object: obj, Options: options,
	})
	if err != nil {
		return err
	}
	reply.Warnings(w, resp.GetWarnings())
	return h.object(w, r, http.StatusCreated, f, resp.GetObject(), resp.GetTableColumns())
}

// update serves PUT on an object or a subresource.
func (h *Handler) update(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	options, err := parseWriteOptions(r, r.URL.Query(), f, false)
	if err != nil {
		return err
	}
	obj, warnings, err := h.bodyObject(r, options.GetFieldValidation())
	if err != nil {
		return err
	}
	reply.Warnings(w, warnings) // whether it succeeds or not
	resp, err := h.Store.Update(r.Context(), &storev1.UpdateRequest{
		Resource: resource(t), Namespace: t.Namespace, Name: t.Name, Subresource: t.Subresource, Object: obj, Options: options,
	})
	if err != nil {
		return err
	}
	reply.Warnings(w, resp.GetWarnings())
	return h.object(w, r, writeCode(resp.GetCreated()), f, resp.GetObject(), resp.GetTableColumns())
}

// writeCode is the code of an answer to a write that may have made the object.
func writeCode(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// patchTypes maps the content types of patches.
var patchTypes = map[string]storev1.PatchType{
	string(types.JSONPatchType):           storev1.PatchType_PATCH_TYPE_JSON,
	string(types.MergePatchType):          storev1.PatchType_PATCH_TYPE_MERGE,
	string(types.StrategicMergePatchType): storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE,
	string(types.ApplyYAMLPatchType):      storev1.PatchType_PATCH_TYPE_APPLY,
}

const acceptedPatches = string(types.JSONPatchType) + ", " + string(types.MergePatchType) + ", " +
	string(types.StrategicMergePatchType) + ", " + string(types.ApplyYAMLPatchType)

// patch serves PATCH. The Content-Type says which kind of patch it is.
func (h *Handler) patch(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	q := r.URL.Query()
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	kind, ok := patchTypes[media]
	if err != nil || !ok {
		return reply.UnsupportedMediaType(acceptedPatches)
	}
	apply := kind == storev1.PatchType_PATCH_TYPE_APPLY
	if _, given := q["force"]; given && !apply {
		return apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "PatchOptions"}, "",
			field.ErrorList{field.Forbidden(field.NewPath("force"), "may not be specified for non-apply patch")})
	}
	options, err := parseWriteOptions(r, q, f, apply)
	if err != nil {
		return err
	}
	body, _, err := readBody(r)
	if err != nil {
		return err
	}
	resp, err := h.Store.Patch(r.Context(), &storev1.PatchRequest{
		Resource: resource(t), Namespace: t.Namespace, Name: t.Name, Subresource: t.Subresource,
		Type: kind, Patch: body, Force: attributes.Flag(q, "force"), Options: options,
	})
	if err != nil {
		return err
	}
	reply.Warnings(w, resp.GetWarnings())
	return h.object(w, r, writeCode(resp.GetCreated()), f, resp.GetObject(), resp.GetTableColumns())
}
