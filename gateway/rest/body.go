package rest

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"

	"google.golang.org/protobuf/types/known/anypb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// mediaTypes are the forms of objects in requests.
const mediaTypes = negotiate.JSON + ", " + negotiate.YAML + ", " + negotiate.Protobuf

// readBody returns the request's body and its media type.
func readBody(r *http.Request) (body []byte, media string, err error) {
	media = negotiate.JSON
	if header := r.Header.Get("Content-Type"); header != "" {
		if media, _, err = mime.ParseMediaType(header); err != nil {
			return nil, "", reply.UnsupportedMediaType(mediaTypes)
		}
	}
	body, err = io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, "", err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, "", tooSlow()
	case err != nil:
		return nil, "", apierrors.NewBadRequest(fmt.Sprintf("read the request's body: %v", err))
	}
	return body, media, nil
}

// tooSlow is the error of a request whose body does not arrive.
func tooSlow() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusRequestTimeout, Reason: metav1.StatusReasonTimeout,
		Message: "the request's body did not arrive in the time that a request may take",
	}}
}

// bodyObject returns the object in the request's body, and what the client
// should be told about it. What the object means is the Store's to judge.
func (h *Handler) bodyObject(r *http.Request, v storev1.FieldValidation) (*storev1.Object, []string, error) {
	body, media, err := readBody(r)
	if err != nil {
		return nil, nil, err
	}
	if len(body) == 0 {
		return nil, nil, apierrors.NewBadRequest("the request's body is empty")
	}
	switch media {
	case negotiate.JSON:
		return &storev1.Object{Json: body}, nil, nil
	case negotiate.YAML, "application/x-yaml", "text/yaml":
		b, warnings, err := yamlToJSON(body, v)
		return &storev1.Object{Json: b}, warnings, err
	case negotiate.Protobuf:
		obj, err := h.openEnvelope(body)
		return obj, nil, err
	}
	return nil, nil, reply.UnsupportedMediaType(mediaTypes)
}

// openEnvelope returns the object of a Protobuf body.
func (h *Handler) openEnvelope(body []byte) (*storev1.Object, error) {
	gvk, raw, err := envelope.Open(body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	url, ok := h.Types.TypeURL(gvk)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("no kind %q is registered for version %q", gvk.Kind, gvk.GroupVersion()))
	}
	return &storev1.Object{Object: &anypb.Any{TypeUrl: url, Value: raw}}, nil
}

// yamlToJSON converts a YAML document. Keys that appear twice are lost in
// JSON, so they are judged here.
func yamlToJSON(body []byte, v storev1.FieldValidation) ([]byte, []string, error) {
	var warnings []string
	if v != storev1.FieldValidation_FIELD_VALIDATION_IGNORE {
		b, err := yaml.YAMLToJSONStrict(body)
		if err == nil {
			return b, nil, nil
		}
		if v == storev1.FieldValidation_FIELD_VALIDATION_STRICT {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error converting YAML to JSON: %v", err))
		}
		warnings = append(warnings, err.Error())
	}
	b, err := yaml.YAMLToJSON(body)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error converting YAML to JSON: %v", err))
	}
	return b, warnings, nil
}
