// Package calls records in the audit log the calls that a Store is asked by others
// than gateways: by the services, agents and users who speak gRPC. What comes
// through a gateway is in that gateway's log.
//
// The events are those of REST requests, so that policies and the programs that
// read them need not know of calls: a call has the verb and the resource that it
// is authorized for, and the code that the request would have been answered with.
package calls

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Recorder records calls. Its methods are interceptors of the Store's server.
type Recorder struct{ log *audit.Log }

// New returns what records calls in log.
func New(log *audit.Log) *Recorder { return &Recorder{log: log} }

// Unary is a grpc.UnaryServerInterceptor.
func (r *Recorder) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	records := r.begin(ctx, req, info.FullMethod)
	if len(records) == 0 {
		return handler(ctx, req)
	}
	each := func(do func(*audit.Record)) {
		for _, record := range records {
			do(record)
		}
	}
	each(func(record *audit.Record) { record.Emit(audit.RequestReceived) })
	ctx = audittrail.NewContext(ctx, func(t audittrail.Trail) { each(func(record *audit.Record) { record.Take(t) }) })
	defer panicked(each)
	resp, err := handler(ctx, req)
	for i, record := range records {
		record.Change(func(e *audit.Event) { e.ResponseStatus = statusOf(resp, err, i) })
		if err == nil && record.Records(audit.RequestResponse) {
			object := record.Object(answered(resp))
			record.Change(func(e *audit.Event) { e.ResponseObject = object })
		}
		record.Emit(audit.ResponseComplete)
	}
	return resp, err
}

// Stream is a grpc.StreamServerInterceptor.
func (r *Recorder) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if passes(stream.Context()) {
		return handler(srv, stream)
	}
	s := &recordedStream{ServerStream: stream, recorder: r, method: info.FullMethod}
	s.ctx = audittrail.NewContext(stream.Context(), s.take)
	defer panicked(s.each)
	err := handler(srv, s)
	s.each(func(record *audit.Record) {
		if record.Event().ResponseStatus == nil { // otherwise it has been answered
			record.Change(func(e *audit.Event) { e.ResponseStatus = statusOf(nil, err, 0) })
		}
		record.Emit(audit.ResponseComplete)
	})
	return err
}

// panicked ends the records of a call that panics, and panics on.
func panicked(each func(func(*audit.Record))) {
	if p := recover(); p != nil {
		each(func(record *audit.Record) { record.Panicked(fmt.Sprintf("the Store panicked: %v", p)) })
		panic(p)
	}
}

// recordedStream is a stream whose first message tells what it is about.
type recordedStream struct {
	grpc.ServerStream
	ctx      context.Context //nolint:containedctx // as in every stream
	recorder *Recorder
	method   string

	received bool // the first message
	record   *audit.Record
	lasts    bool
	started  bool // the answer
}

// Context implements grpc.ServerStream.
func (s *recordedStream) Context() context.Context { return s.ctx }

// take and each are of the record, if there is one.
func (s *recordedStream) take(t audittrail.Trail) {
	s.each(func(record *audit.Record) { record.Take(t) })
}

func (s *recordedStream) each(do func(*audit.Record)) {
	if s.record != nil {
		do(s.record)
	}
}

// RecvMsg implements grpc.ServerStream.
func (s *recordedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err != nil || s.received {
		return err
	}
	s.received = true
	if records := s.recorder.begin(s.ctx, m, s.method); len(records) > 0 {
		_, isList := m.(*storev1.ListRequest)
		s.record, s.lasts = records[0], !isList
		s.record.Emit(audit.RequestReceived)
	}
	return nil
}

// SendMsg implements grpc.ServerStream.
func (s *recordedStream) SendMsg(m any) error {
	if s.lasts && !s.started {
		s.started = true
		s.record.Change(func(e *audit.Event) { e.ResponseStatus = &metav1.Status{Code: http.StatusOK} })
		s.record.Emit(audit.ResponseStarted)
	}
	return s.ServerStream.SendMsg(m)
}

// passes says whether calls are in another log, or nobody's.
func passes(ctx context.Context) bool {
	return identity.FromContext(ctx).InGroup(identity.GroupGateways)
}

// begin returns the records of what a call asks for, none if nothing is recorded.
func (r *Recorder) begin(ctx context.Context, req any, method string) []*audit.Record {
	if passes(ctx) {
		return nil
	}
	user := identity.FromContext(ctx)
	var records []*audit.Record
	for i, asked := range asks(req) {
		record := r.log.Begin(ctx, user, asked)
		if record == nil {
			continue
		}
		from, agent := client(ctx)
		record.Change(func(e *audit.Event) { e.RequestURI, e.SourceIPs, e.UserAgent = method, from, audit.UserAgent(agent) })
		if record.Records(audit.Request) {
			object := record.Object(sent(req, i))
			record.Change(func(e *audit.Event) { e.RequestObject = object })
		}
		records = append(records, record)
	}
	return records
}

// client tells from where a call comes, and what its client calls itself. A call
// from the Store's own process comes from nowhere.
func client(ctx context.Context) (from []string, agent string) {
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			from = []string{host}
		}
	}
	if values := metadata.ValueFromIncomingContext(ctx, "user-agent"); len(values) > 0 {
		agent = values[0]
	}
	return from, agent
}

// statusOf is how the i-th thing that a call asked for was answered.
func statusOf(resp any, err error, i int) *metav1.Status {
	if err != nil {
		return failure(err)
	}
	code := http.StatusOK
	switch m := resp.(type) {
	case *storev1.CreateResponse:
		code = http.StatusCreated
	case *storev1.UpdateResponse:
		code = codeOf(m.GetCreated())
	case *storev1.PatchResponse:
		code = codeOf(m.GetCreated())
	case *storev1.BindResponse:
		code = http.StatusCreated
		if results := m.GetResults(); i < len(results) && results[i].GetCode() != 0 {
			return bindFailure(results[i])
		}
	}
	return &metav1.Status{Code: int32(code)}
}

// codeOf is the code of a write that may have made the object.
func codeOf(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// statusOfCanceled is what is answered to a client that has gone.
const statusOfCanceled = 499

func failure(err error) *metav1.Status {
	err = apistatus.FromGRPC(apistatus.ToGRPC(err))
	if api, ok := err.(apierrors.APIStatus); ok {
		s := api.Status()
		return &metav1.Status{Status: metav1.StatusFailure, Message: s.Message, Reason: s.Reason, Details: s.Details, Code: s.Code}
	}
	return &metav1.Status{Status: metav1.StatusFailure, Message: err.Error(), Code: statusOfCanceled}
}
