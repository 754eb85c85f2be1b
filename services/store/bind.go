package store

import (
	"context"

	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/apistatus"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/registry"
)

// Bind implements the RPC.
func (s *Store) Bind(ctx context.Context, req *storev1.BindRequest) (resp *storev1.BindResponse, err error) {
	sc, err := s.enterBind(ctx, req.GetBindings())
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	ctx, span := s.span(ctx, "store.Bind", sc)
	defer func() { finish(span, err) }()
	bindings, err := s.bindings(ctx, req.GetBindings())
	if err != nil {
		return nil, err
	}
	resp = &storev1.BindResponse{}
	for _, err := range s.registry.Bind(ctx, sc.write(nil), bindings) {
		resp.Results = append(resp.Results, bindResult(err))
	}
	return resp, nil
}

// bindings returns the bindings with their Events, which it authorizes in every
// namespace that has some.
func (s *Store) bindings(ctx context.Context, bindings []*storev1.Binding) ([]registry.Binding, error) {
	events := &storev1.Resource{Version: "v1", Resource: "events"}
	out := make([]registry.Binding, len(bindings))
	allowed := make(map[string]bool)
	for i, b := range bindings {
		out[i].Binding = b
		if b.GetEvent() == nil {
			continue
		}
		if !allowed[b.GetNamespace()] {
			if _, err := s.enterAtOnce(ctx, target{resource: events, verb: "create", namespace: b.GetNamespace()}); err != nil {
				return nil, err
			}
			allowed[b.GetNamespace()] = true
		}
		event := &corev1.Event{}
		_, err := codec.Decode(b.GetEvent(), event, corev1.SchemeGroupVersion.WithKind("Event"), storev1.FieldValidation_FIELD_VALIDATION_UNSPECIFIED)
		if err != nil {
			return nil, err
		}
		out[i].Event = event
	}
	return out, nil
}

// enterBind authorizes the bindings of every namespace among them. The request
// waits for its turn once.
func (s *Store) enterBind(ctx context.Context, bindings []*storev1.Binding) (scope, error) {
	pods := &storev1.Resource{Version: "v1", Resource: "pods"}
	enter := s.enter
	var sc scope
	seen := make(map[string]bool)
	for _, b := range bindings {
		if seen[b.GetNamespace()] {
			continue
		}
		seen[b.GetNamespace()] = true
		next, err := enter(ctx, target{resource: pods, verb: "create", namespace: b.GetNamespace(), subresource: "binding"})
		if err != nil {
			sc.leave()
			return scope{}, err
		}
		if len(seen) == 1 {
			sc, enter = next, s.enterAtOnce
		}
	}
	if len(seen) == 0 {
		return scope{}, apierrors.NewBadRequest("the request has no bindings")
	}
	sc.subresource = "binding"
	if len(seen) > 1 {
		sc.namespace = ""
	}
	return sc, nil
}

func bindResult(err error) *storev1.BindResult {
	if err == nil {
		return &storev1.BindResult{}
	}
	return &storev1.BindResult{
		Code: int32(status.Code(apistatus.ToGRPC(err))), Reason: string(apierrors.ReasonForError(err)), Message: err.Error(),
	}
}
