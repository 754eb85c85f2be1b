// Package flowheader carries to a gateway, in the header of the Store's answer,
// by which FlowSchema the Store has classified a request and in which priority
// level it was served. The gateway tells the client as Kubernetes does: by the
// objects' uids, since their names might say more than is everybody's business.
package flowheader

import (
	"context"
	"net/http"

	"google.golang.org/grpc/metadata"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/rpc"
)

// The keys of the answer's header, which are the names of the HTTP headers.
const (
	schemaKey = "x-kubernetes-pf-flowschema-uid"
	levelKey  = "x-kubernetes-pf-prioritylevel-uid"
)

// The names of the HTTP headers as maps of headers have them.
var (
	schemaHeader = http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)
	levelHeader  = http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)
)

// New returns what tells of a FlowSchema and a priority level; nil if they are no
// objects.
func New(schema, level types.UID) metadata.MD {
	if schema == "" || level == "" {
		return nil
	}
	return metadata.MD{schemaKey: {string(schema)}, levelKey: {string(level)}}
}

// Pass returns a context whose calls of the Store set the headers of a response.
func Pass(ctx context.Context, header http.Header) context.Context {
	return rpc.OnHeader(ctx, func(md metadata.MD) {
		if uid := md[schemaKey]; len(uid) > 0 {
			header[schemaHeader] = uid
		}
		if uid := md[levelKey]; len(uid) > 0 {
			header[levelHeader] = uid
		}
	})
}
