package calls

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// about is what most requests name.
type about interface {
	GetResource() *storev1.Resource
	GetNamespace() string
}

// asks returns what a call asks for, as it is authorized: of calls that do many
// things at once, each of them.
func asks(req any) []*storev1.AuthorizeRequest {
	switch m := req.(type) {
	case *storev1.GetRequest:
		return one("get", m, m.GetName(), m.GetSubresource())
	case *storev1.HistoryRequest:
		return one("get", m, m.GetName(), "")
	case *storev1.ListRequest:
		return one("list", m, "", "")
	case *storev1.WatchRequest:
		return one("watch", m, "", "")
	case *storev1.CreateRequest:
		return one("create", m, m.GetName(), m.GetSubresource())
	case *storev1.UpdateRequest:
		return one("update", m, m.GetName(), m.GetSubresource())
	case *storev1.PatchRequest:
		return one("patch", m, m.GetName(), m.GetSubresource())
	case *storev1.DeleteRequest:
		return one("delete", m, m.GetName(), "")
	case *storev1.DeleteCollectionRequest:
		return one("deletecollection", m, "", "")
	case *storev1.ConnectRequest:
		return one(m.GetVerb(), m, m.GetName(), m.GetSubresource())
	case *storev1.BindRequest:
		return bindings(m)
	case *storev1.HeartbeatRequest:
		leases := &storev1.Resource{Group: coordinationv1.GroupName, Version: "v1", Resource: "leases"}
		return []*storev1.AuthorizeRequest{{Verb: "update", Resource: leases, Namespace: corev1.NamespaceNodeLease, Name: m.GetNodeName()}}
	case *storev1.LocateRequest:
		services := &storev1.Resource{Version: "v1", Resource: "services"}
		return []*storev1.AuthorizeRequest{{Verb: "get", Resource: services, Namespace: m.GetNamespace(), Name: m.GetService(), Subresource: "proxy"}}
	case *storev1.GetDocumentRequest:
		return []*storev1.AuthorizeRequest{{Verb: "get", Path: m.GetPath()}}
	case *storev1.AuthorizeRequest:
		return []*storev1.AuthorizeRequest{m}
	}
	return nil // of another service
}

func one(verb string, m about, name, subresource string) []*storev1.AuthorizeRequest {
	resource := m.GetResource()
	if resource == nil {
		resource = &storev1.Resource{} // it is about one that it does not name
	}
	return []*storev1.AuthorizeRequest{{Verb: verb, Resource: resource, Namespace: m.GetNamespace(), Name: name, Subresource: subresource}}
}

// bindings has one request for each binding, as there is over REST.
func bindings(m *storev1.BindRequest) []*storev1.AuthorizeRequest {
	pods := &storev1.Resource{Version: "v1", Resource: "pods"}
	all := make([]*storev1.AuthorizeRequest, len(m.GetBindings()))
	for i, b := range m.GetBindings() {
		all[i] = &storev1.AuthorizeRequest{Verb: "create", Resource: pods, Namespace: b.GetNamespace(), Name: b.GetName(), Subresource: "binding"}
	}
	return all
}

// bindFailure is the status of a binding that was refused.
func bindFailure(r *storev1.BindResult) *metav1.Status {
	s := failure(status.Error(codes.Code(r.GetCode()), r.GetMessage()))
	s.Reason = metav1.StatusReason(r.GetReason())
	return s
}
