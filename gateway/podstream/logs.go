package podstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"navarch.dev/navarch/gateway/attributes"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// logs serves pods/log.
func (c *Connector) logs(w http.ResponseWriter, r *http.Request, t podTarget) error {
	req, err := logsRequest(t.pod, r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain")
	if t.pod.Spec.NodeName == "" {
		// A pod that is nowhere yet has said nothing yet.
		w.WriteHeader(http.StatusOK)
		return nil
	}
	ctx, node, err := c.node(r.Context(), t)
	if err != nil {
		return err
	}
	stream, err := node.Logs(ctx, req)
	if err != nil {
		return err
	}
	if wsstream.IsWebSocketRequest(r) {
		return c.logsOverWebSocket(w, r, t, &logReader{stream: stream})
	}
	flush := http.NewResponseController(w).Flush
	written := false
	for {
		resp, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !written:
			return err
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the client has gone
		case err != nil:
			c.Log.WarnContext(ctx, "log stream broke off", "namespace", t.pod.Namespace, "pod", t.pod.Name, "error", err)
			panic(http.ErrAbortHandler) // a log cut short must not look whole
		}
		written = true
		if _, err := w.Write(resp.GetData()); err != nil {
			return nil //nolint:nilerr // the client has gone
		}
		if req.GetFollow() {
			if err := flush(); err != nil {
				return nil //nolint:nilerr // the client has gone
			}
		}
	}
}

// logsOverWebSocket sends a log in messages, as clients ask for that cannot read an
// answer while it comes.
func (c *Connector) logsOverWebSocket(w http.ResponseWriter, r *http.Request, t podTarget, log *logReader) error {
	if err := log.fill(); err != nil && !errors.Is(err, io.EOF) {
		return err // what is wrong can still be said in the answer
	}
	reader := wsstream.NewReaderWithLogger(klog.Logger{}, log, true, wsstream.NewDefaultReaderProtocols())
	if err := reader.Copy(w, r); err != nil && r.Context().Err() == nil {
		c.Log.WarnContext(r.Context(), "log stream broke off", "namespace", t.pod.Namespace, "pod", t.pod.Name, "error", err)
	}
	return nil
}

// logReader reads what an agent sends of a log.
type logReader struct {
	stream interface {
		Recv() (*nodev1.LogsResponse, error)
	}
	ahead []byte // what came and was not read
}

// fill waits until there is something to read.
func (l *logReader) fill() error {
	for len(l.ahead) == 0 {
		resp, err := l.stream.Recv()
		if err != nil {
			return err
		}
		l.ahead = resp.GetData()
	}
	return nil
}

// Read implements io.Reader.
func (l *logReader) Read(p []byte) (int, error) {
	if err := l.fill(); err != nil {
		return 0, err
	}
	n := copy(p, l.ahead)
	l.ahead = l.ahead[n:]
	return n, nil
}

// logsRequest reads and checks the parameters of pods/log.
func logsRequest(pod *corev1.Pod, q url.Values, now time.Time) (*nodev1.LogsRequest, error) {
	p := logParameters{query: q}
	req := &nodev1.LogsRequest{
		Namespace: pod.Namespace, Pod: pod.Name, PodUid: string(pod.UID),
		Follow: attributes.Flag(q, "follow"), Previous: attributes.Flag(q, "previous"), Timestamps: attributes.Flag(q, "timestamps"),
		TailLines: p.number("tailLines", 0), LimitBytes: p.number("limitBytes", 1), Stream: q.Get("stream"),
	}
	if seconds := p.number("sinceSeconds", 1); seconds != nil {
		req.Since = timestamppb.New(now.Add(-time.Duration(min(*seconds, int64(maxSince/time.Second))) * time.Second))
	}
	if text := q.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		switch {
		case err != nil:
			p.errs = append(p.errs, field.Invalid(field.NewPath("sinceTime"), text, err.Error()))
		case req.Since != nil:
			p.errs = append(p.errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
		default:
			req.Since = timestamppb.New(at)
		}
	}
	switch req.Stream {
	case "", corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr:
	default:
		p.errs = append(p.errs, field.NotSupported(field.NewPath("stream"), req.Stream,
			[]string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}))
	}
	if len(p.errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, pod.Name, p.errs)
	}
	var err error
	req.Container, err = container(pod, q.Get("container"))
	return req, err
}

// maxSince keeps the arithmetic on times within bounds.
const maxSince = 100 * 365 * 24 * time.Hour

// logParameters collects what is wrong with the numbers of a request.
type logParameters struct {
	query url.Values
	errs  field.ErrorList
}

// number reads a parameter that may not be less than least; absent is nil.
func (p *logParameters) number(name string, least int64) *int64 {
	text := p.query.Get(name)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		p.errs = append(p.errs, field.Invalid(field.NewPath(name), text, "must be a whole number"))
		return nil
	case n < least:
		p.errs = append(p.errs, field.Invalid(field.NewPath(name), n, "must be greater than or equal to "+strconv.FormatInt(least, 10)))
		return nil
	}
	return &n
}
