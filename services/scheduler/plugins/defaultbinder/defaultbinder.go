// Package defaultbinder writes bindings to the Store, all that have been
// decided in one call.
package defaultbinder

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/scheduler/framework"
)

// Name of the plugin.
const Name = "DefaultBinder"

// Binder is the one call of the Store that is needed.
type Binder interface {
	Bind(ctx context.Context, req *storev1.BindRequest, opts ...grpc.CallOption) (*storev1.BindResponse, error)
}

// Plugin implements framework.Bind.
type Plugin struct{ binder Binder }

// New returns the plugin.
func New(binder Binder) *Plugin { return &Plugin{binder: binder} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// Bind writes the bindings, each with its own decision's trace.
func (p *Plugin) Bind(ctx context.Context, bindings []framework.Binding) []*framework.Status {
	results := make([]*framework.Status, len(bindings))
	resp, err := p.bind(ctx, bindings)
	for i := range bindings {
		if err != nil {
			results[i] = framework.AsStatus(fmt.Errorf("bind pod %s: %w", bindings[i].Pod.Key(), apistatus.FromGRPC(err)))
			continue
		}
		results[i] = result(bindings[i], resp.GetResults()[i])
		if n := bindings[i].Notice; n != nil {
			n.Stored = results[i].Success()
		}
	}
	return results
}

func (p *Plugin) bind(ctx context.Context, bindings []framework.Binding) (*storev1.BindResponse, error) {
	req, err := request(bindings)
	if err != nil {
		return nil, err
	}
	resp, err := p.binder.Bind(ctx, req)
	if err == nil && len(resp.GetResults()) != len(bindings) {
		err = fmt.Errorf("the Store answered %d of %d bindings", len(resp.GetResults()), len(bindings))
	}
	return resp, err
}

// request asks for the bindings, and for each one's Event to be stored with it.
func request(bindings []framework.Binding) (*storev1.BindRequest, error) {
	req := &storev1.BindRequest{Bindings: make([]*storev1.Binding, len(bindings))}
	for i, b := range bindings {
		req.Bindings[i] = &storev1.Binding{
			Namespace: b.Pod.Pod.Namespace, Name: b.Pod.Pod.Name, Uid: string(b.Pod.Pod.UID),
			NodeName: b.Node, Trace: client.TraceOf(b.Context),
		}
		if b.Notice == nil {
			continue
		}
		event, err := kinds.Encode(b.Notice.Event)
		if err != nil {
			return nil, err
		}
		req.Bindings[i].Event = &storev1.Object{Object: event}
	}
	return req, nil
}

func result(b framework.Binding, r *storev1.BindResult) *framework.Status {
	if r.GetCode() == 0 {
		return nil
	}
	return framework.AsStatus(fmt.Errorf("bind pod %s to node %s: %s: %s", b.Pod.Key(), b.Node, r.GetReason(), r.GetMessage()))
}
