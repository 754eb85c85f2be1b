// Package metrics serves the API group metrics.k8s.io: what nodes and pods use
// now. Nothing of it is stored. A request is authorized by the Store, the nodes
// concerned are asked through their agents, and the answers are put together.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/usage"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Handler serves the group.
type Handler struct {
	store      *client.Client
	authorizer storev1.StoreServiceClient
	usage      *usage.Source
}

// New returns a handler. store carries both the gateway's own calls and, with
// their identity in the context, those of users.
func New(store grpc.ClientConnInterface, agents usage.Dialer, log *slog.Logger) *Handler {
	return &Handler{
		store: client.New(store, "navarch-gateway"), authorizer: storev1.NewStoreServiceClient(store), usage: usage.New(agents, 0, log),
	}
}

// Kinds are the resources of the group, for discovery. They can be read, not
// watched.
func Kinds() []*kinds.Kind {
	gv := metricsv1beta1.SchemeGroupVersion
	return []*kinds.Kind{
		{Group: gv.Group, Version: gv.Version, Resource: "nodes", Kind: "NodeMetrics", ReadOnly: true},
		{Group: gv.Group, Version: gv.Version, Resource: "pods", Kind: "PodMetrics", Namespaced: true, ReadOnly: true},
	}
}

// Register adds the group's paths to mux.
func (h *Handler) Register(mux *runtime.ServeMux) error {
	root := "/apis/" + metricsv1beta1.SchemeGroupVersion.String()
	for path, serve := range map[string]func(context.Context, query) (reply.Message, error){
		"/nodes": h.listNodes, "/nodes/{name}": h.getNode, "/pods": h.listPods,
		"/namespaces/{namespace}/pods": h.listPods, "/namespaces/{namespace}/pods/{name}": h.getPod,
	} {
		resource := "pods"
		if strings.HasPrefix(path, "/nodes") {
			resource = "nodes"
		}
		if err := mux.HandlePath(http.MethodGet, root+path, h.serve(resource, serve)); err != nil {
			return fmt.Errorf("register %s: %w", root+path, err)
		}
	}
	return nil
}

// query is what a request asks for.
type query struct {
	resource, namespace, name string
	labels                    labels.Selector
	fields                    fields.Selector
}

func (h *Handler) serve(resource string, answer func(context.Context, query) (reply.Message, error)) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		format, ok := negotiate.Select(r.Header, negotiate.Plain)
		if !ok {
			reply.Error(w, r, reply.NotAcceptable())
			return
		}
		obj, err := h.answer(r, query{resource: resource, namespace: params["namespace"], name: params["name"]}, answer)
		if err != nil {
			reply.Error(w, r, err)
			return
		}
		reply.Object(w, r, http.StatusOK, format, obj)
	}
}

func (h *Handler) answer(r *http.Request, q query, answer func(context.Context, query) (reply.Message, error)) (reply.Message, error) {
	who, err := caller.Of(r)
	if err != nil {
		return nil, err
	}
	if err := h.authorize(r.Context(), who, q); err != nil {
		return nil, err
	}
	params := r.URL.Query()
	if params.Get("watch") == "true" || params.Get("watch") == "1" {
		return nil, apierrors.NewMethodNotSupported(metricsv1beta1.Resource(q.resource), "watch")
	}
	if q.labels, err = labels.Parse(params.Get("labelSelector")); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if q.fields, err = fields.ParseSelector(params.Get("fieldSelector")); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return answer(r.Context(), q)
}

// authorize asks the Store, as the caller, whether the caller may see this.
func (h *Handler) authorize(ctx context.Context, who caller.Caller, q query) error {
	verb := "get"
	if q.name == "" {
		verb = "list"
	}
	_, err := h.authorizer.Authorize(who.NewContext(ctx), &storev1.AuthorizeRequest{
		Resource: &storev1.Resource{Group: metricsv1beta1.GroupName, Version: metricsv1beta1.SchemeGroupVersion.Version, Resource: q.resource},
		Verb:     verb, Namespace: q.namespace, Name: q.name,
	})
	return err
}

func (h *Handler) listNodes(ctx context.Context, q query) (reply.Message, error) {
	nodes, err := h.nodes(ctx, q.labels, q.fields)
	if err != nil {
		return nil, err
	}
	out := &metricsv1beta1.NodeMetricsList{TypeMeta: typeOf("NodeMetricsList"), Items: []metricsv1beta1.NodeMetrics{}}
	stats := h.usage.Ask(ctx, nodes)
	for _, node := range nodes {
		if m, ok := usage.OfNode(node, stats[node.Name]); ok {
			m.TypeMeta = metav1.TypeMeta{}
			out.Items = append(out.Items, *m)
		}
	}
	return out, nil
}

func (h *Handler) getNode(ctx context.Context, q query) (reply.Message, error) {
	node := &corev1.Node{}
	if err := h.store.Get(ctx, "", q.name, node); err != nil {
		return nil, h.notFound(err, q)
	}
	m, ok := usage.OfNode(node, h.usage.Ask(ctx, []*corev1.Node{node})[node.Name])
	if !ok {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource(q.resource), q.name)
	}
	return m, nil
}

func (h *Handler) listPods(ctx context.Context, q query) (reply.Message, error) {
	list := &corev1.PodList{}
	err := h.store.List(ctx, list, client.ListOptions{Namespace: q.namespace, Labels: q.labels, Fields: q.fields, ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	stats, err := h.statsOf(ctx, list.Items)
	if err != nil {
		return nil, err
	}
	out := &metricsv1beta1.PodMetricsList{TypeMeta: typeOf("PodMetricsList"), Items: []metricsv1beta1.PodMetrics{}}
	for i := range list.Items {
		if m, ok := usage.OfPod(&list.Items[i], stats[list.Items[i].Spec.NodeName]); ok {
			m.TypeMeta = metav1.TypeMeta{}
			out.Items = append(out.Items, *m)
		}
	}
	return out, nil
}

func (h *Handler) getPod(ctx context.Context, q query) (reply.Message, error) {
	pod := corev1.Pod{}
	if err := h.store.Get(ctx, q.namespace, q.name, &pod); err != nil {
		return nil, h.notFound(err, q)
	}
	stats, err := h.statsOf(ctx, []corev1.Pod{pod})
	if err != nil {
		return nil, err
	}
	m, ok := usage.OfPod(&pod, stats[pod.Spec.NodeName])
	if !ok {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource(q.resource), q.namespace+"/"+q.name)
	}
	return m, nil
}

// notFound says that what is asked for is not there in the group's own words.
func (h *Handler) notFound(err error, q query) error {
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read %s %s: %w", q.resource, q.name, err)
	}
	return apierrors.NewNotFound(metricsv1beta1.Resource(q.resource), strings.TrimPrefix(q.namespace+"/"+q.name, "/"))
}

func (h *Handler) nodes(ctx context.Context, l labels.Selector, f fields.Selector) ([]*corev1.Node, error) {
	list := &corev1.NodeList{}
	if err := h.store.List(ctx, list, client.ListOptions{Labels: l, Fields: f, ResourceVersion: "0"}); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	nodes := make([]*corev1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes, nil
}

// statsOf asks the nodes that the pods are on.
func (h *Handler) statsOf(ctx context.Context, pods []corev1.Pod) (map[string]*nodev1.StatsResponse, error) {
	wanted := make(map[string]bool)
	for i := range pods {
		wanted[pods[i].Spec.NodeName] = true
	}
	nodes, err := h.nodes(ctx, labels.Everything(), fields.Everything())
	if err != nil {
		return nil, err
	}
	return h.usage.Ask(ctx, slices.DeleteFunc(nodes, func(n *corev1.Node) bool { return !wanted[n.Name] })), nil
}

func typeOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: metricsv1beta1.SchemeGroupVersion.String()}
}
