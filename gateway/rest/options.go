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
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// maxFieldManager is the length that the API allows a field manager's name.
const maxFieldManager = 128

// integer reads a number; absent is nil.
func integer(q url.Values, name string) (*int64, error) {
	text := q.Get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return &n, nil
}

// Deadline returns how long a request that is no watch may take: as long as the
// client wants with the parameter timeout, but no longer than most. It returns a
// Status for what is no duration.
func Deadline(q url.Values, most time.Duration) (time.Duration, error) {
	text := q.Get("timeout")
	if text == "" {
		return most, nil
	}
	wanted, err := time.ParseDuration(text)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
	}
	if wanted <= 0 {
		return most, nil
	}
	return min(wanted, most), nil
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

var matches = map[metav1.ResourceVersionMatch]storev1.ResourceVersionMatch{
	metav1.ResourceVersionMatchNotOlderThan: storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_NOT_OLDER_THAN,
	metav1.ResourceVersionMatchExact:        storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_EXACT,
}

// parseListOptions reads and checks the parameters of a list or watch of a kind. Of
// several that are wrong it tells the one that Kubernetes tells: numbers are read
// first, then selectors, then what goes together, then what the kind has.
func parseListOptions(q url.Values, kind *kinds.Kind) (listOptions, error) {
	o := listOptions{
		labels: q.Get("labelSelector"), fields: q.Get("fieldSelector"), resourceVersion: q.Get("resourceVersion"),
		token: q.Get("continue"), watch: attributes.Flag(q, "watch"), bookmarks: attributes.Flag(q, "allowWatchBookmarks"),
	}
	if _, ok := q["sendInitialEvents"]; ok {
		v := attributes.Flag(q, "sendInitialEvents")
		o.initialEvents = &v
	}
	if err := o.readNumbers(q); err != nil {
		return o, err
	}
	_, fields, err := kinds.ParseSelectors(o.labels, o.fields)
	if err != nil {
		return o, err
	}
	match := metav1.ResourceVersionMatch(q.Get("resourceVersionMatch"))
	o.match = matches[match]
	errs := validation.ValidateListOptions(&internalversion.ListOptions{
		Watch: o.watch, ResourceVersion: o.resourceVersion, ResourceVersionMatch: match,
		Continue: o.token, SendInitialEvents: o.initialEvents,
	}, true)
	if len(errs) > 0 {
		return o, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	return o, kind.CheckFields(fields)
}

func (o *listOptions) readNumbers(q url.Values) error {
	seconds, err := integer(q, "timeoutSeconds")
	if err != nil {
		return err
	}
	if seconds != nil && *seconds > 0 {
		o.timeout = time.Duration(min(*seconds, int64(24*time.Hour/time.Second))) * time.Second
	}
	limit, err := integer(q, "limit")
	if err != nil {
		return err
	}
	if limit != nil {
		o.limit = max(0, *limit)
	}
	return nil
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
		return 0, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: includeObject: Invalid value: %q: must be 'Metadata', 'Object', 'None', or empty", include))
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
	strictness, ok := fieldValidations[q.Get("fieldValidation")]
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
	return &storev1.WriteOptions{DryRun: dry, FieldManager: manager, FieldValidation: strictness, Encoding: encoding(f), Projection: p}, nil
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
