package gateway

import (
	"net/http"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
)

// noDefinitions is a list of custom resources' definitions, of which there are
// none.
const noDefinitions = `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"items":[]}`

// customResources tells that there are no custom resources. Discovery does not
// show the path, but kubectl reads it before it creates an object of a kind that
// cannot be patched, such as a TokenReview, to learn whether it is a custom one.
func (g *Gateway) customResources(w http.ResponseWriter, r *http.Request) {
	reply.Bytes(w, r, http.StatusOK, negotiate.JSON, []byte(noDefinitions))
}
