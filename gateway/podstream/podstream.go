// Package podstream serves the subresources of pods that their node's agent
// answers: logs, exec, attach, port-forward and proxy. The Store authorizes the user
// and names the agent; the agent's gRPC streams are then joined to the
// client's HTTP response, WebSocket or SPDY connection.
package podstream

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/upgrade"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// paramPorts is the query parameter that names the ports of a port-forward.
const paramPorts = "ports"

// NodeDialer connects to the Node service of an agent.
type NodeDialer interface {
	// Dial returns a connection to the agent of node at endpoint (host:port),
	// new or kept.
	Dial(ctx context.Context, node, endpoint string) (grpc.ClientConnInterface, error)
}

// Options are what a Connector works with.
type Options struct {
	Store  storev1.StoreServiceClient
	Nodes  NodeDialer
	Tracer trace.Tracer
	Log    *slog.Logger
	// Stopping is closed when the server shuts down: streams end then.
	Stopping <-chan struct{}
}

// Connector joins clients to agents.
type Connector struct{ Options }

// New returns a Connector.
func New(o Options) *Connector { return &Connector{Options: o} }

// Connect answers a request for a streaming subresource of a pod.
func (c *Connector) Connect(w http.ResponseWriter, r *http.Request, t routes.Target) {
	ctx, cancel := c.untilStopped(r.Context())
	defer cancel()
	if err := c.serve(w, r.WithContext(ctx), t); err != nil {
		reply.Error(w, r, err)
	}
}

// untilStopped returns a context that ends when the server shuts down.
func (c *Connector) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-c.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// serve returns an error only while nothing was written.
func (c *Connector) serve(w http.ResponseWriter, r *http.Request, t routes.Target) error {
	target, err := c.authorize(r.Context(), t, r.URL.Query())
	if err != nil {
		return err
	}
	switch t.Subresource {
	case "log":
		return c.logs(w, r, target)
	case "exec":
		return c.exec(w, r, target)
	case "attach":
		start, err := startRequest(target, r.URL.Query())
		if err != nil {
			return err
		}
		return upgrade.Attach(w, r, start, c.dialer(target))
	case "portforward":
		ports, err := upgrade.Ports(r.URL.Query(), paramPorts)
		if err != nil {
			return err
		}
		return upgrade.PortForward(w, r, upgrade.Forward{Pod: target.pod, Ports: ports, Parameter: paramPorts, Log: c.Log}, c.dialer(target))
	}
	return routes.NotAllowed()
}

// exec serves pods/exec.
func (c *Connector) exec(w http.ResponseWriter, r *http.Request, t podTarget) error {
	start, err := startRequest(t, r.URL.Query())
	if err != nil {
		return err
	}
	if start.Command = r.URL.Query()["command"]; len(start.Command) == 0 {
		return apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	return upgrade.Exec(w, r, start, c.dialer(t))
}

// startRequest reads the parameters that exec and attach share.
func startRequest(t podTarget, q url.Values) (*nodev1.ExecStart, error) {
	name, err := container(t.pod, q.Get("container"))
	if err != nil {
		return nil, err
	}
	start := &nodev1.ExecStart{
		Namespace: t.pod.Namespace, Pod: t.pod.Name, Container: name,
		Stdin: attributes.Flag(q, "stdin"), Stdout: attributes.Flag(q, "stdout"), Stderr: attributes.Flag(q, "stderr"), Tty: attributes.Flag(q, "tty"),
	}
	if start.Tty {
		start.Stderr = false // a terminal has one output
	}
	if !start.Stdin && !start.Stdout && !start.Stderr {
		return nil, apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	return start, nil
}

// dialer returns what connects to the pod's agent.
func (c *Connector) dialer(t podTarget) upgrade.Dial {
	return func(ctx context.Context) (context.Context, nodev1.NodeServiceClient, error) { return c.node(ctx, t) }
}

// podTarget is a pod that the user may connect to.
type podTarget struct {
	pod      *corev1.Pod
	endpoint string
}

// authorize asks the Store whether the user may do this, and where the pod is.
func (c *Connector) authorize(ctx context.Context, t routes.Target, query url.Values) (podTarget, error) {
	verb := "create"
	if t.Subresource == "log" {
		verb = "get"
	}
	options, err := streamOptions(t.Subresource, query)
	if err != nil {
		return podTarget{}, err
	}
	ctx, span := c.Tracer.Start(ctx, "gateway.connect "+t.Kind.Resource+"/"+t.Subresource, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("k8s.namespace.name", t.Namespace), attribute.String("k8s.pod.name", t.Name)))
	defer span.End()
	resp, err := c.Store.Connect(ctx, &storev1.ConnectRequest{
		Resource:  &storev1.Resource{Group: t.Kind.Group, Version: t.Kind.Version, Resource: t.Kind.Resource},
		Namespace: t.Namespace, Name: t.Name, Subresource: t.Subresource, Verb: verb, Options: options,
	})
	if err != nil {
		return podTarget{}, err
	}
	pod := &corev1.Pod{}
	if err := kinds.Decode(resp.GetObject().GetObject(), pod); err != nil {
		return podTarget{}, fmt.Errorf("read the pod to connect to: %w", err)
	}
	return podTarget{pod: pod, endpoint: resp.GetNodeEndpoint()}, nil
}

// streamOptions is what the Store's webhooks and policies are told of a request.
func streamOptions(subresource string, query url.Values) (*anypb.Any, error) {
	stdin, stdout, stderr, tty := attributes.Flag(query, "stdin"), attributes.Flag(query, "stdout"), attributes.Flag(query, "stderr"), attributes.Flag(query, "tty")
	switch subresource {
	case "exec":
		return kinds.Encode(&corev1.PodExecOptions{
			Stdin: stdin, Stdout: stdout, Stderr: stderr, TTY: tty, Container: query.Get("container"), Command: query["command"],
		})
	case "attach":
		return kinds.Encode(&corev1.PodAttachOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr, TTY: tty, Container: query.Get("container")})
	case "portforward":
		ports, err := upgrade.Ports(query, paramPorts)
		if err != nil {
			return nil, err
		}
		return kinds.Encode(&corev1.PodPortForwardOptions{Ports: ports})
	}
	return nil, nil
}

// node connects to the pod's agent. The returned context does not carry the
// user's credentials: the agent trusts the gateway, not them.
func (c *Connector) node(ctx context.Context, t podTarget) (context.Context, nodev1.NodeServiceClient, error) {
	if t.pod.Spec.NodeName == "" {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", t.pod.Name))
	}
	if t.endpoint == "" {
		return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has not said where its agent is reached", t.pod.Spec.NodeName))
	}
	return c.agent(ctx, t.pod.Spec.NodeName, t.endpoint)
}

// agent connects to a node's agent, without the user's credentials.
func (c *Connector) agent(ctx context.Context, node, endpoint string) (context.Context, nodev1.NodeServiceClient, error) {
	ctx = metadata.NewOutgoingContext(ctx, metadata.MD{})
	conn, err := c.Nodes.Dial(ctx, node, endpoint)
	if err != nil {
		return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("connect to node %s: %v", node, err))
	}
	return ctx, nodev1.NewNodeServiceClient(conn), nil
}

// container returns the container that a request means: the named one, or the
// pod's only one.
func container(pod *corev1.Pod, name string) (string, error) {
	if name != "" {
		if !hasContainer(pod, name) {
			return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
		}
		return name, nil
	}
	switch len(pod.Spec.Containers) {
	case 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("no containers found in pod %s", pod.Name))
	case 1:
		return pod.Spec.Containers[0].Name, nil
	}
	text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, names(pod.Spec.Containers))
	if len(pod.Spec.InitContainers) > 0 {
		text += fmt.Sprintf(" or one of the init containers: [%s]", names(pod.Spec.InitContainers))
	}
	return "", apierrors.NewBadRequest(text)
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

func names(containers []corev1.Container) string {
	all := make([]string, len(containers))
	for i := range containers {
		all[i] = containers[i].Name
	}
	return strings.Join(all, " ")
}
