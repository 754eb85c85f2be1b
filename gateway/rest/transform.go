package rest

import (
	"bytes"
	"fmt"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
)

// transformable refuses the transformations that fit other requests: a list's
// for one object and the other way round.
func transformable(f negotiate.Format, t routes.Target, watch bool) error {
	const refusal = "you requested %s, but the requested object is %sa list (%s)"
	switch {
	case f.As == "PartialObjectMetadata" && t.Name == "" && !watch:
		return reply.WrongTransformation(fmt.Sprintf(refusal, f.As, "", t.Kind.Kind+"List"))
	case f.As == "PartialObjectMetadataList" && (t.Name != "" || watch):
		return reply.WrongTransformation(fmt.Sprintf(refusal, f.As, "not ", t.Kind.Kind))
	}
	return nil
}

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
