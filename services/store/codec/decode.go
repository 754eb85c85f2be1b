// Package codec reads what clients send: objects as Protobuf messages or as
// JSON, with strict field validation, selectors and page tokens.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quantities"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Decode fills obj from a request's body and returns warnings about unknown
// and duplicate fields. gvk is what the body must be.
func Decode(body *storev1.Object, obj kinds.Object, gvk schema.GroupVersionKind, validation storev1.FieldValidation) ([]string, error) {
	switch {
	case len(body.GetJson()) > 0:
		return DecodeJSON(body.GetJson(), obj, gvk, validation)
	case body.GetObject() != nil:
		if err := quantities.CheckProtobuf(body.GetObject().GetValue(), obj); err != nil {
			return nil, cannotHandle(gvk, err)
		}
		if err := kinds.Decode(body.GetObject(), obj); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		return nil, nil
	}
	return nil, apierrors.NewBadRequest("the request has no object")
}

// DecodeKind is Decode for a body that is an object of a kind, which it makes.
// An object of a custom kind is cleaned of what its schema does not have.
func DecodeKind(body *storev1.Object, kind *kinds.Kind, validation storev1.FieldValidation) (kinds.Object, []string, error) {
	obj := kind.New()
	if kind.Custom == nil {
		warnings, err := Decode(body, obj, kind.GVK(), validation)
		return obj, warnings, err
	}
	if len(body.GetJson()) > 0 {
		warnings, err := DecodeCustom(body.GetJson(), kind, obj, validation)
		return obj, warnings, err
	}
	if _, err := Decode(body, obj, kind.GVK(), validation); err != nil {
		return obj, nil, err
	}
	_, err := kind.Custom.Clean(obj.(*unstructured.Unstructured))
	if err != nil {
		err = cannotHandle(kind.GVK(), err)
	}
	return obj, nil, err
}

// DecodeCustom is DecodeJSON for an object of a custom kind.
func DecodeCustom(body []byte, kind *kinds.Kind, obj kinds.Object, validation storev1.FieldValidation) ([]string, error) {
	u, gvk := obj.(*unstructured.Unstructured), kind.GVK()
	fields := map[string]any{}
	strict, err := unmarshal(body, &fields, validation)
	if err != nil {
		return nil, cannotHandle(gvk, err)
	}
	u.Object = fields
	if err := checkType(u, gvk); err != nil {
		return nil, err
	}
	u.SetGroupVersionKind(gvk)
	unknown, err := kind.Custom.Clean(u)
	if err != nil {
		return nil, cannotHandle(gvk, err)
	}
	for _, path := range unknown {
		strict = append(strict, fmt.Errorf("unknown field %q", path))
	}
	return judge(strict, gvk, validation)
}

// DecodeJSON is Decode for a JSON body.
func DecodeJSON(body []byte, obj kinds.Object, gvk schema.GroupVersionKind, validation storev1.FieldValidation) ([]string, error) {
	strict, err := unmarshal(body, obj, validation)
	if err != nil {
		return nil, cannotHandle(gvk, err)
	}
	if err := checkType(obj, gvk); err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return judge(strict, gvk, validation)
}

// judge makes of what is wrong with a body's fields what the client asked for: an
// error, warnings, or nothing.
func judge(strict []error, gvk schema.GroupVersionKind, validation storev1.FieldValidation) ([]string, error) {
	switch {
	case len(strict) == 0, validation == storev1.FieldValidation_FIELD_VALIDATION_IGNORE:
		return nil, nil
	case validation == storev1.FieldValidation_FIELD_VALIDATION_STRICT:
		return nil, cannotHandle(gvk, fmt.Errorf("strict decoding error: %w", joined(strict)))
	}
	warnings := make([]string, len(strict))
	for i, err := range strict {
		warnings[i] = err.Error()
	}
	return warnings, nil
}

func unmarshal(body []byte, obj any, validation storev1.FieldValidation) (strict []error, err error) {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errors.New("the body is not a JSON object")
	}
	if err := quantities.CheckJSON(body, obj); err != nil {
		return nil, err
	}
	if validation == storev1.FieldValidation_FIELD_VALIDATION_IGNORE {
		return nil, kjson.UnmarshalCaseSensitivePreserveInts(body, obj)
	}
	return kjson.UnmarshalStrict(body, obj)
}

// checkType refuses a body that says it is of another kind than the request.
// A body that does not say is taken at the request's word.
func checkType(obj kinds.Object, want schema.GroupVersionKind) error {
	got := obj.GetObjectKind().GroupVersionKind()
	if got.Kind != "" && got.Kind != want.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("the kind in the data (%s) does not match the expected kind (%s)", got.Kind, want.Kind))
	}
	// As it was sent: one that cannot be parsed shows as empty in the GVK.
	var sent string
	if u, ok := obj.(*unstructured.Unstructured); ok {
		sent = u.GetAPIVersion()
	} else {
		sent = reflect.ValueOf(obj).Elem().FieldByName("APIVersion").String()
	}
	if sent != "" && sent != want.GroupVersion().String() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", sent, want.GroupVersion()))
	}
	return nil
}

// unreadable is the error of a body that is no object of its kind.
type unreadable struct {
	*apierrors.StatusError
	cause error
}

func cannotHandle(gvk schema.GroupVersionKind, err error) error {
	message := fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err)
	return &unreadable{StatusError: apierrors.NewBadRequest(message), cause: err}
}

// WhyUnreadable returns what is wrong with a body, if err says that it is no object
// of its kind, and else err.
func WhyUnreadable(err error) error {
	if u, ok := errors.AsType[*unreadable](err); ok {
		return u.cause
	}
	return err
}

// joined lists errors on one line.
func joined(errs []error) error {
	var b bytes.Buffer
	for i, err := range errs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(err.Error())
	}
	return errors.New(b.String())
}
