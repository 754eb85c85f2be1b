package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// returnsDeleted says whether a finished delete answers with the object. For
// most kinds it answers with a Status.
func returnsDeleted(gr schema.GroupResource) bool {
	switch gr.Group {
	case "storage.k8s.io":
		return gr.Resource != "csistoragecapacities"
	case "resource.k8s.io":
		return gr.Resource != "devicetaintrules"
	case "":
		switch gr.Resource {
		case "namespaces", "pods", "services", "serviceaccounts", "persistentvolumes", "persistentvolumeclaims", "podtemplates", "resourcequotas":
			return true
		}
	}
	return false
}

// delete serves DELETE on an object.
func (h *Handler) delete(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	given, options, err := deleteOptions(r, f)
	if err != nil {
		return err
	}
	options.DryRun = options.DryRun || ignoresReadErrors(given)
	resp, err := h.Store.Delete(r.Context(), &storev1.DeleteRequest{
		Resource: resource(t), Namespace: t.Namespace, Name: t.Name, Options: options,
	})
	if err != nil {
		return err
	}
	if ignoresReadErrors(given) {
		return apierrors.NewConflict(t.Kind.GroupResource(), t.Name, errors.New("unsafe deletion is not allowed because the object is decodable from storage"))
	}
	reply.Warnings(w, resp.GetWarnings())
	if !resp.GetDeleted() {
		code := http.StatusOK
		if given.OrphanDependents != nil && !*given.OrphanDependents {
			code = http.StatusAccepted
		}
		return h.object(w, r, code, f, resp.GetObject(), nil)
	}
	if returnsDeleted(t.Kind.GroupResource()) {
		return h.object(w, r, http.StatusOK, f, resp.GetObject(), nil)
	}
	uid, err := uidOf(resp.GetObject())
	if err != nil {
		return err
	}
	f.As = ""
	reply.Object(w, r, http.StatusOK, f, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: t.Name, Group: t.Kind.Group, Kind: t.Kind.Resource, UID: uid},
	})
	return nil
}

// uidOf returns the uid of a returned object.
func uidOf(obj *storev1.Object) (types.UID, error) {
	var partial metav1.PartialObjectMetadata
	var err error
	if raw := obj.GetObject().GetValue(); raw != nil {
		// Every kind's metadata is field 1, as it is here.
		err = partial.Unmarshal(raw)
	} else {
		err = json.Unmarshal(obj.GetJson(), &partial)
	}
	if err != nil {
		return "", fmt.Errorf("read the deleted object's uid: %w", err)
	}
	return partial.UID, nil
}

// deleteCollection serves DELETE on a collection.
func (h *Handler) deleteCollection(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	list, err := parseListOptions(r.URL.Query(), t.Kind)
	if err != nil {
		return err
	}
	f.As, f.Group, f.Version = "", "", "" // answered in full whatever was asked for
	given, options, err := deleteOptions(r, f)
	if err != nil {
		return err
	}
	if ignoresReadErrors(given) {
		return invalidOptions(field.Invalid(field.NewPath("ignoreStoreReadErrorWithClusterBreakingPotential"), true, "is not allowed with DELETECOLLECTION, try again after removing the option"))
	}
	resp, err := h.Store.DeleteCollection(r.Context(), &storev1.DeleteCollectionRequest{
		Resource: resource(t), Namespace: t.Namespace, LabelSelector: list.labels, FieldSelector: list.fields, Options: options,
	})
	if err != nil {
		return err
	}
	reply.Warnings(w, resp.GetWarnings())
	header := &storev1.ListHeader{ResourceVersion: resp.GetResourceVersion()}
	for _, obj := range resp.GetObjects() {
		header.ItemsSize += int64(envelope.ItemSize(len(obj.GetObject().GetValue())))
	}
	l := &lister{target: t, format: f}
	if f.Media == negotiate.Protobuf {
		body := newListBody(w, r, f)
		defer body.release()
		l.open = body.open
		return body.end(l, l.all(header, resp.GetObjects()))
	}
	var body bytes.Buffer
	l.open = func(bool) listWriter { return plainList{&body} }
	if err := l.all(header, resp.GetObjects()); err != nil {
		return err
	}
	if err := l.end(); err != nil {
		return err
	}
	return h.json(w, r, http.StatusOK, f, body.Bytes())
}

// deleteOptions reads the options of a delete from the body or, without one,
// from the query.
func deleteOptions(r *http.Request, f negotiate.Format) (*metav1.DeleteOptions, *storev1.DeleteOptions, error) {
	body, media, err := readBody(r)
	if err != nil {
		return nil, nil, err
	}
	var o *metav1.DeleteOptions
	if len(body) > 0 {
		o, err = decodeDeleteOptions(body, media)
	} else {
		o, err = queryDeleteOptions(r.URL.Query())
	}
	if err != nil {
		return nil, nil, err
	}
	out, err := storeDeleteOptions(o)
	if err != nil {
		return nil, nil, err
	}
	out.Encoding, out.Projection = encoding(f), storev1.Projection_PROJECTION_OBJECT
	if f.IsMetadata() {
		out.Projection = storev1.Projection_PROJECTION_METADATA
	}
	return o, out, nil
}

func decodeDeleteOptions(body []byte, media string) (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	var err error
	switch media {
	case negotiate.JSON:
		err = readDeleteOptions(body, o)
	case negotiate.YAML:
		if body, err = yaml.YAMLToJSON(body); err == nil {
			err = readDeleteOptions(body, o)
		}
	case negotiate.Protobuf:
		var raw []byte
		if _, raw, err = envelope.Open(body); err == nil {
			err = o.Unmarshal(raw)
		}
	default:
		return nil, reply.UnsupportedMediaType(mediaTypes)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if o.Kind != "" && o.Kind != "DeleteOptions" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("no kind %q is registered for version %q", o.Kind, cmp.Or(o.APIVersion, "v1")))
	}
	return o, nil
}

// readDeleteOptions reads options in JSON: what they are first, as in Kubernetes.
func readDeleteOptions(body []byte, o *metav1.DeleteOptions) error {
	var meta struct {
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}
	if err := json.Unmarshal(body, &meta); err != nil {
		return fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
	}
	o.APIVersion, o.Kind = meta.APIVersion, meta.Kind
	if meta.Kind != "" && meta.Kind != "DeleteOptions" {
		return nil // and so no options
	}
	return json.Unmarshal(body, o)
}

func queryDeleteOptions(q url.Values) (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{DryRun: q["dryRun"]}
	seconds, err := integer(q, "gracePeriodSeconds")
	if err != nil {
		return nil, err
	}
	o.GracePeriodSeconds = seconds
	if _, ok := q["orphanDependents"]; ok {
		v := attributes.Flag(q, "orphanDependents")
		o.OrphanDependents = &v
	}
	if v := q.Get("propagationPolicy"); v != "" {
		policy := metav1.DeletionPropagation(v)
		o.PropagationPolicy = &policy
	}
	return o, nil
}

var propagations = map[metav1.DeletionPropagation]storev1.PropagationPolicy{
	metav1.DeletePropagationOrphan:     storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN,
	metav1.DeletePropagationBackground: storev1.PropagationPolicy_PROPAGATION_POLICY_BACKGROUND,
	metav1.DeletePropagationForeground: storev1.PropagationPolicy_PROPAGATION_POLICY_FOREGROUND,
}

// invalidOptions is the error of options of a deletion that break rules.
func invalidOptions(errs ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "DeleteOptions"}, "", errs)
}

// ignoresReadErrors says whether what cannot be read is to be deleted. The Store holds
// nothing that it cannot read.
func ignoresReadErrors(o *metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}

// storeDeleteOptions turns the API's options into the Store's.
func storeDeleteOptions(o *metav1.DeleteOptions) (*storev1.DeleteOptions, error) {
	if errs := metavalidation.ValidateDeleteOptions(o); len(errs) > 0 {
		return nil, invalidOptions(errs...)
	}
	out := &storev1.DeleteOptions{GracePeriodSeconds: o.GracePeriodSeconds, DryRun: len(o.DryRun) > 0}
	if p := o.Preconditions; p != nil {
		if p.UID != nil {
			out.Uid = string(*p.UID)
		}
		if p.ResourceVersion != nil {
			out.ResourceVersion = *p.ResourceVersion
		}
	}
	switch {
	case o.PropagationPolicy != nil:
		out.PropagationPolicy = propagations[*o.PropagationPolicy]
	case o.OrphanDependents != nil && *o.OrphanDependents:
		out.PropagationPolicy = storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN
	case o.OrphanDependents != nil:
		out.PropagationPolicy = storev1.PropagationPolicy_PROPAGATION_POLICY_BACKGROUND
	}
	return out, nil
}
