package rest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
)

// notAcceptable is the error of a request for an object in a form that it has not.
// Of a media type that nothing has, Kubernetes' router tells before it asks for more.
func notAcceptable(r *http.Request, t routes.Target) error {
	if t.Kind.Custom != nil || negotiate.Names(r.Header.Get("Accept"), objectMedia...) {
		return reply.NotAcceptable()
	}
	has := objectMedia
	if r.Method == http.MethodGet && t.Name == "" {
		has = append(slices.Clip(has), negotiate.JSON+";stream=watch", negotiate.Protobuf+";stream=watch")
	}
	return reply.NoRepresentation(has)
}

var objectMedia = []string{negotiate.JSON, negotiate.YAML, negotiate.Protobuf}

// transformable refuses the transformations that fit other requests: a list's
// for one object and the other way round.
func transformable(f negotiate.Format, t routes.Target, watch bool) error {
	const refusal = "you requested %s, but the requested object is %sa list (%s)"
	kind := t.Kind.Kind
	if t.Subresource == "scale" {
		kind = "Scale"
	}
	switch {
	case f.As == "PartialObjectMetadata" && t.Name == "" && !watch:
		return reply.WrongTransformation(fmt.Sprintf(refusal, f.As, "", kind+"List"))
	case f.As == "PartialObjectMetadataList" && (t.Name != "" || watch):
		return reply.WrongTransformation(fmt.Sprintf(refusal, f.As, "not ", kind))
	}
	return nil
}

// fits says with an error why what is read cannot be answered in a form.
func fits(f negotiate.Format, t routes.Target, q url.Values) error {
	if err := transformable(f, t, false); err != nil {
		return err
	}
	_, err := projection(f, q)
	return err
}

// discard is a response that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// The Store writes the metadata of objects in the present version of its kind.
var (
	metadataHead      = []byte(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",`)
	olderMetadataHead = []byte(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1beta1",`)
)

// inVersion returns the Store's JSON of an object or a table row with its
// metadata in the version that the client asked for. Within a JSON text the
// head can be nothing but the object's beginning: in a string its quotes would
// be escaped.
func inVersion(f negotiate.Format, b []byte) []byte {
	if f.Version != "v1beta1" {
		return b
	}
	return bytes.Replace(b, metadataHead, olderMetadataHead, 1)
}
