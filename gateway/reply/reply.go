// Package reply writes the gateway's responses: API objects that the gateway
// makes itself, errors as Kubernetes Status objects, warnings, and bodies that
// are compressed once they turn out to be large.
package reply

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/internal/apistatus"
)

// Message is an API object that has a Protobuf form.
type Message interface {
	runtime.Object
	Marshal() ([]byte, error)
}

// Object writes an object whose TypeMeta is set.
func Object(w http.ResponseWriter, r *http.Request, code int, format negotiate.Format, obj Message) {
	body, err := Encode(obj, format)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	Bytes(w, r, code, format.ContentType(), body)
}

// Encode returns an object in a format.
func Encode(obj Message, format negotiate.Format) ([]byte, error) {
	if format.Media == negotiate.Protobuf {
		raw, err := obj.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", obj, err)
		}
		return envelope.Seal(obj.GetObjectKind().GroupVersionKind(), raw), nil
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", obj, err)
	}
	if format.Media == negotiate.YAML {
		return YAML(body)
	}
	return append(body, '\n'), nil
}

// YAML turns JSON into YAML.
func YAML(b []byte) ([]byte, error) {
	out, err := yaml.JSONToYAML(b)
	if err != nil {
		return nil, fmt.Errorf("convert JSON to YAML: %w", err)
	}
	return out, nil
}

// Indent returns JSON as people read it.
func Indent(b []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") != nil {
		return b
	}
	return out.Bytes()
}

// Bytes writes a whole body.
func Bytes(w http.ResponseWriter, r *http.Request, code int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	if len(body) < compressFrom || !AcceptsGzip(r) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(code)
		_, _ = w.Write(body) // the client has gone: nobody is left to tell
		return
	}
	s := NewStream(w, r, code)
	_, _ = s.Write(body)
	_ = s.Close()
}

// Error writes an error as a Status in the form that the client accepts, with
// the warnings that come with it.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	Warnings(w, apistatus.Warnings(err))
	s := apistatus.Of(err)
	format, ok := negotiate.Select(r.Header, negotiate.Plain)
	if !ok {
		format = negotiate.Format{Media: negotiate.JSON}
	}
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	Object(w, r, int(s.Code), format, s)
}

// NotAcceptable is the error of a request whose Accept header matches nothing.
func NotAcceptable() error {
	return WrongTransformation("only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")
}

// NoRepresentation is the error of a request for a media type that what is asked for
// does not have, unlike those that are named.
func NoRepresentation(has []string) error {
	s := apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "", "", 0, false)
	s.ErrStatus.Reason, s.ErrStatus.Details = metav1.StatusReasonNotAcceptable, &metav1.StatusDetails{}
	s.ErrStatus.Message = "406: Not Acceptable\n\nAvailable representations: " + strings.Join(has, ", ")
	return s
}

// WrongTransformation is the error of a request for a transformation that does
// not fit what is asked for.
func WrongTransformation(message string) error {
	s := apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "", "", 0, false)
	s.ErrStatus.Reason, s.ErrStatus.Message, s.ErrStatus.Details = metav1.StatusReasonNotAcceptable, message, nil
	return s
}

// UnsupportedMediaType is the error of a request whose body's form is unknown.
func UnsupportedMediaType(accepted string) error {
	s := apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "", schema.GroupResource{}, "", "", 0, false)
	s.ErrStatus.Reason = metav1.StatusReasonUnsupportedMediaType
	s.ErrStatus.Message = "the body of the request was in an unknown format - accepted media types include: " + accepted
	return s
}
