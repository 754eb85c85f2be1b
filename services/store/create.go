package store

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

// Create implements the RPC.
func (s *Store) Create(ctx context.Context, req *storev1.CreateRequest) (resp *storev1.CreateResponse, err error) {
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "create", namespace: req.GetNamespace(), name: req.GetName(), subresource: req.GetSubresource(),
	})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	ctx, span := s.span(ctx, "store.Create", sc)
	defer func() { err = s.conclude(ctx, sc, err); finish(span, err) }()
	switch {
	case sc.kind.CreateOnly:
		return s.review(ctx, sc, req)
	case sc.subresource != "":
		return s.createSubresource(ctx, sc, req)
	}
	obj, warnings, err := codec.DecodeKind(req.GetObject(), sc.kind, req.GetOptions().GetFieldValidation())
	if err != nil {
		return nil, err
	}
	sc.warnings.Add(warnings...)
	s.noteObject(ctx, sc, obj)
	w := sc.write(req.GetOptions())
	v, err := s.registry.Create(ctx, w, obj)
	if err != nil {
		return nil, err
	}
	span.SetAttributes(attribute.String("k8s.object.name", v.Object().GetName()))
	a, err := s.answer(sc, v, req.GetOptions())
	if err != nil {
		return nil, err
	}
	return &storev1.CreateResponse{Object: a.object, Warnings: w.Warnings.All(), TableColumns: a.columns}, nil
}

// answer is what a write returns.
type answer struct {
	object  *storev1.Object
	columns []byte
}

func (s *Store) answer(sc scope, v *cache.Version, opts *storev1.WriteOptions) (answer, error) {
	f := form(opts)
	var a answer
	var err error
	if a.object, err = v.Encode(f); err != nil {
		return a, err
	}
	a.columns, err = columns(sc.kind, f)
	return a, err
}

// span begins the span of a write. Its trace context is what is kept with the
// object.
func (s *Store) span(ctx context.Context, name string, sc scope) (context.Context, trace.Span) {
	return s.tracer.Start(ctx, name, trace.WithAttributes(
		attribute.String("k8s.resource", sc.kind.GroupResource().String()),
		attribute.String("k8s.namespace.name", sc.namespace),
		attribute.String("k8s.object.name", sc.name),
		attribute.String("k8s.subresource", sc.subresource),
		attribute.String("enduser.id", sc.user.Name),
	))
}

// finish ends a write's span. A write that lost a race has not failed: whoever
// made it reads again and goes on, so the span only says what it met.
func finish(span trace.Span, err error) {
	switch {
	case err == nil:
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		span.SetAttributes(attribute.String("error.type", string(apierrors.ReasonForError(err))))
	default:
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
