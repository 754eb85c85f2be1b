package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/gateway/negotiate"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// maxFieldManager is the length that the API allows a field manager's name.
const maxFieldManager = 128

// truthy reads a boolean parameter as the Kubernetes API does: present means
// true unless it says "false" or "0".
func truthy(q url.Values, name string) bool {
	values, ok := q[name]
	if !ok || len(values) == 0 {
		return false
	}
	return values[0] != "0" && !strings.EqualFold(values[0], "false")
}

// integer reads a number; absent is nil.
func integer(q url.Values, name string) (*int64, error) {
	text := q.Get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s: %v", name, err))
	}
	return &n, nil
}

// listOptions are the parameters of lists and watches.
type listOptions struct {
	labels, fields  string
	resourceVersion string
	match           storev1.ResourceVersionMatch
	limit           int64
	token           string
	watch           bool
	bookmarks       bool
	initialEvents   *bool
	timeout         time.Duration
}

var matches = map[string]storev1.ResourceVersionMatch{
	"": storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_UNSPECIFIED,
	string(metav1.ResourceVersionMatchNotOlderThan): storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_NOT_OLDER_THAN,
	string(metav1.ResourceVersionMatchExact):        storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_EXACT,
}

// parseListOptions reads and checks the parameters of a list or watch.
func parseListOptions(q url.Values) (listOptions, error) {
	o := listOptions{
		labels: q.Get("labelSelector"), fields: q.Get("fieldSelector"), resourceVersion: q.Get("resourceVersion"),
		token: q.Get("continue"), watch: truthy(q, "watch"), bookmarks: truthy(q, "allowWatchBookmarks"),
	}
	if _, ok := q["sendInitialEvents"]; ok {
		v := truthy(q, "sendInitialEvents")
		o.initialEvents = &v
	}
	limit, err := integer(q, "limit")
	if err != nil {
		return o, err
	}
	if limit != nil {
		o.limit = *limit
	}
	seconds, err := integer(q, "timeoutSeconds")
	if err != nil {
		return o, err
	}
	if seconds != nil && *seconds > 0 {
		o.timeout = time.Duration(min(*seconds, int64(24*time.Hour/time.Second))) * time.Second
	}
	match, known := matches[q.Get("resourceVersionMatch")]
	o.match = match
	if errs := o.check(q.Get("resourceVersionMatch"), known); len(errs) > 0 {
		return o, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}, "", errs)
	}
	return o, nil
}

// check returns the rules of the API that the options break.
func (o listOptions) check(match string, known bool) field.ErrorList {
	var errs field.ErrorList
	forbid := func(name, why string) { errs = append(errs, field.Forbidden(field.NewPath(name), why)) }
	if !known {
		errs = append(errs, field.NotSupported(field.NewPath("resourceVersionMatch"), match,
			[]string{string(metav1.ResourceVersionMatchExact), string(metav1.ResourceVersionMatchNotOlderThan)}))
	}
	if o.limit < 0 {
		errs = append(errs, field.Invalid(field.NewPath("limit"), o.limit, "must not be negative"))
	}
	switch {
	case !o.watch && o.initialEvents != nil:
		forbid("sendInitialEvents", "sendInitialEvents is forbidden for list")
	case o.initialEvents != nil && match != string(metav1.ResourceVersionMatchNotOlderThan):
		forbid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	case o.watch && o.initialEvents == nil && match != "":
		forbid("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
	case !o.watch && match != "" && o.resourceVersion == "":
		forbid("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
	case match != "" && o.token != "":
		forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
	case match == string(metav1.ResourceVersionMatchExact) && o.resourceVersion == "0":
		forbid("resourceVersionMatch", `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`)
	}
	return errs
}

// oneName narrows the options to the object of one name.
func (o *listOptions) oneName(name string) {
	selector := "metadata.name=" + name
	if o.fields != "" {
		selector = o.fields + "," + selector
	}
	o.fields = selector
}

// projections maps a format and its includeObject parameter to what the Store
// is asked for.
func projection(f negotiate.Format, q url.Values) (storev1.Projection, error) {
	switch {
	case f.IsMetadata():
		return storev1.Projection_PROJECTION_METADATA, nil
	case !f.IsTable():
		return storev1.Projection_PROJECTION_OBJECT, nil
	}
	switch include := q.Get("includeObject"); include {
	case "None":
		return storev1.Projection_PROJECTION_TABLE, nil
	case "", "Metadata":
		return storev1.Projection_PROJECTION_TABLE_WITH_METADATA, nil
	case "Object":
		return storev1.Projection_PROJECTION_TABLE_WITH_OBJECT, nil
	default:
		return 0, apierrors.NewBadRequest(fmt.Sprintf("includeObject: unsupported value %q: must be None, Metadata or Object", include))
	}
}

// encoding returns the form in which the Store is asked for objects.
func encoding(f negotiate.Format) storev1.Encoding {
	if f.Media == negotiate.Protobuf {
		return storev1.Encoding_ENCODING_PROTOBUF
	}
	return storev1.Encoding_ENCODING_JSON
}

// dryRun reads the dryRun parameter.
func dryRun(values []string) (bool, error) {
	for _, v := range values {
		if v != metav1.DryRunAll {
			return false, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "Options"}, "",
				field.ErrorList{field.NotSupported(field.NewPath("dryRun"), v, []string{metav1.DryRunAll})})
		}
	}
	return len(values) > 0, nil
}

var fieldValidations = map[string]storev1.FieldValidation{
	"":                           storev1.FieldValidation_FIELD_VALIDATION_WARN,
	metav1.FieldValidationIgnore: storev1.FieldValidation_FIELD_VALIDATION_IGNORE,
	metav1.FieldValidationWarn:   storev1.FieldValidation_FIELD_VALIDATION_WARN,
	metav1.FieldValidationStrict: storev1.FieldValidation_FIELD_VALIDATION_STRICT,
}

// parseWriteOptions reads the parameters of writes. Without a field manager,
// the first part of the user agent names it.
func parseWriteOptions(r *http.Request, q url.Values, f negotiate.Format, apply bool) (*storev1.WriteOptions, error) {
	var errs field.ErrorList
	validation, ok := fieldValidations[q.Get("fieldValidation")]
	if !ok {
		errs = append(errs, field.NotSupported(field.NewPath("fieldValidation"), q.Get("fieldValidation"),
			[]string{metav1.FieldValidationIgnore, metav1.FieldValidationStrict, metav1.FieldValidationWarn}))
	}
	manager := q.Get("fieldManager")
	switch {
	case manager == "" && apply:
		errs = append(errs, field.Required(field.NewPath("fieldManager"), "is required for apply patch"))
	case len(manager) > maxFieldManager:
		errs = append(errs, field.TooLong(field.NewPath("fieldManager"), manager, maxFieldManager))
	case strings.ContainsFunc(manager, func(c rune) bool { return !unicode.IsPrint(c) }):
		errs = append(errs, field.Invalid(field.NewPath("fieldManager"), manager, "should only contain printable characters"))
	case manager == "":
		manager = managerOfUserAgent(r.UserAgent())
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "Options"}, "", errs)
	}
	dry, err := dryRun(q["dryRun"])
	if err != nil {
		return nil, err
	}
	p, err := projection(f, q)
	if err != nil {
		return nil, err
	}
	return &storev1.WriteOptions{DryRun: dry, FieldManager: manager, FieldValidation: validation, Encoding: encoding(f), Projection: p}, nil
}

// managerOfUserAgent returns "kubectl" for "kubectl/v1.37.2 (linux/amd64)".
func managerOfUserAgent(agent string) string {
	name, _, _ := strings.Cut(agent, "/")
	name = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, name)
	if len(name) > maxFieldManager {
		name = strings.ToValidUTF8(name[:maxFieldManager], "")
	}
	return name
}
