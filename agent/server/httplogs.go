package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// The answers to queries that are none, as kubelets word them.
var (
	errUndecodable = answer(http.StatusBadRequest, `{"message": "Unable to decode query."}`)
	errInvalidLog  = answer(http.StatusUnprocessableEntity, `{"message": "Invalid request."}`)
)

// httpLogs sends a container's log.
func (s *Server) httpLogs(w http.ResponseWriter, r *http.Request) error {
	req, err := logsRequest(r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	req.Namespace, req.Pod, req.Container = r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
	info, err := s.pod(r)
	if err != nil {
		return answer(http.StatusNotFound, "pod %q does not exist", req.GetPod())
	}
	if !declares(info.Object, req.GetContainer()) {
		return answer(http.StatusNotFound, "container %q not found in pod %q", req.GetContainer(), req.GetPod())
	}
	flush := http.NewResponseController(w).Flush
	written := false
	err = s.streamLog(r.Context(), req, func(b []byte) error {
		if !written {
			w.Header().Set("Content-Type", "text/plain")
			written = true
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		if req.GetFollow() {
			_ = flush() // what cannot is sent when there is more of it
		}
		return nil
	})
	switch {
	case r.Context().Err() != nil:
		return nil //nolint:nilerr // the client has gone
	case err == nil:
		return nil
	case written:
		panic(http.ErrAbortHandler) // a log cut short must not look whole
	}
	return answer(http.StatusBadRequest, "%s", status.Convert(err).Message())
}

// logsRequest reads the parameters of a log, those of PodLogOptions. "tail" is an
// older name for tailLines, of which "all" is no limit.
func logsRequest(q url.Values, now time.Time) (*nodev1.LogsRequest, error) {
	flag := func(name string) bool {
		values := q[name]
		return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
	}
	req := &nodev1.LogsRequest{Follow: flag("follow"), Previous: flag("previous"), Timestamps: flag("timestamps"), Stream: q.Get("stream")}
	tail := q.Get("tailLines")
	if older := q.Get("tail"); older != "" {
		if tail = older; tail == "all" {
			tail = ""
		}
	}
	var since *int64
	var err error
	for _, number := range []struct {
		text  string
		least int64
		into  **int64
	}{{tail, 0, &req.TailLines}, {q.Get("limitBytes"), 1, &req.LimitBytes}, {q.Get("sinceSeconds"), 1, &since}} {
		if *number.into, err = numberOf(number.text, number.least); err != nil {
			return nil, err
		}
	}
	if since != nil {
		req.Since = timestamppb.New(now.Add(-time.Duration(min(*since, maxSince)) * time.Second))
	}
	if text := q.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, errUndecodable
		}
		if since != nil {
			return nil, errInvalidLog
		}
		req.Since = timestamppb.New(at)
	}
	switch req.GetStream() {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		if req.TailLines != nil {
			return nil, errInvalidLog
		}
	default:
		return nil, errInvalidLog
	}
	return req, nil
}

// maxSince keeps the arithmetic on times within bounds: a century, in seconds.
const maxSince = 100 * 365 * 24 * 3600

// numberOf reads a number that may not be less than least; none is nil.
func numberOf(text string, least int64) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, errUndecodable
	}
	if n < least {
		return nil, errInvalidLog
	}
	return &n, nil
}
