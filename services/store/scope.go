package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/flowcontrol"
	"navarch.dev/navarch/services/store/registry"
)

// scope is what a request is about, authorized.
type scope struct {
	kind        *kinds.Kind
	user        identity.Identity
	namespace   string
	name        string
	subresource string
	verb        string
	// fromUser says that a gateway carried the call.
	fromUser bool
	// warnings are what the caller is to be told, whether the call succeeds or not.
	warnings *admission.Warnings
	// annotations are what is noted in the audit log; nil if nobody audits the
	// call.
	annotations *admission.Annotations
	// seat is the request's while it is served; leave gives it back.
	seat flowcontrol.Seat
}

// leave gives up what a request has entered with. It may be called again.
func (sc *scope) leave() { sc.seat.Release() }

// seatTime is how long a request keeps its seat whose client does not read the
// answer, as long as Kubernetes gives a request altogether.
const seatTime = time.Minute

// leaveInTime returns the leave of a request that is answered by a stream. When
// seatTime is over that has happened.
func (sc *scope) leaveInTime() (leave func()) {
	seat := sc.seat
	sc.seat = flowcontrol.Seat{}
	release := sync.OnceFunc(func() { seat.Release() })
	timer := time.AfterFunc(seatTime, release)
	return func() {
		timer.Stop()
		release()
	}
}

// target is what a request names.
type target struct {
	resource    *storev1.Resource
	verb        string
	namespace   string
	name        string
	subresource string
	// labels and fields are the selectors of requests that have them.
	labels, fields string
}

// enter lets a request in: it waits for its turn and is authorized. The scope must
// be left in the end.
func (s *Store) enter(ctx context.Context, t target) (scope, error) {
	sc, a, err := s.identify(ctx, t)
	if err != nil {
		return scope{}, err
	}
	if sc.seat, err = s.admit(ctx, &a); err != nil {
		return scope{}, err
	}
	if err := s.permit(ctx, sc, a); err != nil {
		sc.leave()
		return scope{}, err
	}
	return sc, nil
}

// enterAtOnce is enter for what nobody waits for: streams that last, and further
// steps of a request that has entered.
func (s *Store) enterAtOnce(ctx context.Context, t target) (scope, error) {
	sc, a, err := s.identify(ctx, t)
	if err != nil {
		return scope{}, err
	}
	return sc, s.permit(ctx, sc, a)
}

// identify finds out who calls, and about what.
func (s *Store) identify(ctx context.Context, t target) (scope, access.Attributes, error) {
	user, err := s.caller(ctx)
	if err != nil {
		return scope{}, access.Attributes{}, err
	}
	kind, err := s.kindOf(ctx, t)
	if err != nil {
		return scope{}, access.Attributes{}, err
	}
	if !kind.Namespaced && t.namespace != "" {
		// A Namespace is asked for as /namespaces/x, which routers read as a
		// namespace; every other cluster-scoped kind has none.
		return scope{}, access.Attributes{}, apierrors.NewBadRequest(fmt.Sprintf("%s are not namespaced", kind.Resource))
	}
	sc := scope{
		kind: kind, user: user, namespace: t.namespace, name: t.name, subresource: t.subresource, verb: t.verb,
		fromUser: identity.FromContext(ctx).InGroup(identity.GroupGateways), warnings: &admission.Warnings{},
		annotations: annotations(ctx),
	}
	return sc, access.Attributes{
		User: user, Verb: t.verb, Group: kind.Group, Version: kind.Version, Resource: kind.Resource,
		Subresource: t.subresource, Namespace: authorizedNamespace(kind, t), Name: authorizedName(t),
		LabelSelector: t.labels, FieldSelector: t.fields,
	}, nil
}

// permit authorizes a request.
func (s *Store) permit(ctx context.Context, sc scope, a access.Attributes) error {
	if err := s.authorize(ctx, a); err != nil {
		return err
	}
	return checkCustom(sc.kind, sc.verb)
}

// admit takes a seat for a request, when it is its turn, and tells a gateway how it
// was classified.
func (s *Store) admit(ctx context.Context, a *access.Attributes) (flowcontrol.Seat, error) {
	flow := s.flow.Classify(a)
	if flow == nil {
		return flowcontrol.Seat{}, nil
	}
	if header := flow.Header(); header != nil && identity.FromContext(ctx).InGroup(identity.GroupGateways) {
		_ = grpc.SetHeader(ctx, header) // a call that takes none has nobody to tell
	}
	if seat, ok := flow.Try(); ok {
		return seat, nil
	}
	schema, level := flow.Names()
	ctx, span := s.tracer.Start(ctx, "store.wait", trace.WithAttributes(
		attribute.String("navarch.flow_schema", schema), attribute.String("navarch.priority_level", level)))
	seat, err := flow.Wait(ctx, a)
	finish(span, err)
	return seat, err
}

// authorizedNamespace is the namespace that a call is authorized in: a
// Namespace object counts as being in itself.
func authorizedNamespace(kind *kinds.Kind, t target) string {
	if kind.Group == "" && kind.Resource == "namespaces" {
		return t.name
	}
	return t.namespace
}

// authorizedName is the name that a call is authorized for. A list or watch of
// one name counts as of that object, so that whoever may see only certain
// objects can watch each of them.
func authorizedName(t target) string {
	if t.name != "" || t.verb != "list" && t.verb != "watch" {
		return t.name
	}
	selector, err := fields.ParseSelector(t.fields)
	if err != nil {
		return "" // it is refused later, with a better word
	}
	name, _ := selector.RequiresExactMatch("metadata.name")
	if len(content.IsPathSegmentName(name)) > 0 {
		return ""
	}
	return name
}

func (s *Store) kindOf(ctx context.Context, t target) (*kinds.Kind, error) {
	gvr := schema.GroupVersionResource{Group: t.resource.GetGroup(), Version: t.resource.GetVersion(), Resource: t.resource.GetResource()}
	kind, err := s.kindFor(ctx, gvr)
	switch {
	case err != nil:
		return nil, err
	case t.subresource != "" && !kind.HasSubresource(t.subresource):
		return nil, noResource(gvr)
	case kind.CreateOnly && t.verb != "create", kind.ReadOnly && t.verb != "get" && t.verb != "list":
		return nil, apierrors.NewMethodNotSupported(kind.GroupResource(), t.verb)
	}
	return kind, nil
}

// only refuses subresources that an RPC does not serve.
func (sc scope) only(verb string, subresources ...string) error {
	if sc.subresource == "" || slices.Contains(subresources, sc.subresource) {
		return nil
	}
	return apierrors.NewMethodNotSupported(schema.GroupResource{Group: sc.kind.Group, Resource: sc.kind.Resource + "/" + sc.subresource}, verb)
}

// named refuses a request that names no object, or that leaves the namespace
// of a namespaced object open.
func (sc scope) named() error {
	switch {
	case sc.name == "":
		return apierrors.NewBadRequest("the request names no object")
	case sc.kind.Namespaced && sc.namespace == "":
		return apierrors.NewBadRequest("the request names no namespace")
	}
	if err := segment("resource name", sc.name); err != nil {
		return err
	}
	return segment("namespace", sc.namespace)
}

// segment refuses a name that cannot be a segment of a path, since it is none
// of a key either.
func segment(what, name string) error {
	if msgs := content.IsPathSegmentName(name); len(msgs) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s %q: %v", what, name, msgs))
	}
	return nil
}

// write returns the scope as the registry takes it.
func (sc scope) write(opts *storev1.WriteOptions) registry.Write {
	return registry.Write{
		Kind: sc.kind, Namespace: sc.namespace, Name: sc.name, Subresource: sc.subresource,
		User: sc.user, DryRun: opts.GetDryRun(), Manager: opts.GetFieldManager(),
		FromUser: sc.fromUser, Verb: sc.verb, Warnings: sc.warnings, Annotations: sc.annotations, Validation: opts.GetFieldValidation(),
	}
}

// conclude adds to a call's error what the caller is to be told beside it, and
// tells who audits the call what was noted.
func (s *Store) conclude(ctx context.Context, sc scope, err error) error {
	s.noteAdmission(ctx, sc)
	return apistatus.WithWarnings(err, sc.warnings.All())
}

// form returns the form of answer that a write asks for.
func form(opts *storev1.WriteOptions) cache.Form {
	return cache.Form{Encoding: opts.GetEncoding(), Projection: opts.GetProjection()}
}

// columns returns a table's columns, nothing where the form is no table.
func columns(kind *kinds.Kind, f cache.Form) ([]byte, error) {
	if !f.Table() {
		return nil, nil
	}
	return cache.TableColumns(kind)
}
