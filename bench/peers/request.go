package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
	mergeType    = "application/merge-patch+json"
	// namespace is where the objects go that are not listed.
	namespace = "default"
)

// request is one to the API.
type request struct {
	method, path string
	body         []byte
	contentType  string
	accept       string
	gzip         bool
}

// open sends a request and returns the answer's body if it is a success.
func (s *server) open(ctx context.Context, c *http.Client, r request) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, s.url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.gzip {
		req.Header.Set("Accept-Encoding", "gzip")
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer func() { _ = resp.Body.Close() }()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, &statusError{resp.StatusCode, fmt.Sprintf("%s %s: %s: %s", r.method, r.path, resp.Status, said)}
	}
	return resp.Body, nil
}

// statusError is an answer that is no success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// do sends a request and returns how long the answer is; the bytes are
// dropped.
func (s *server) do(ctx context.Context, c *http.Client, r request) (int64, error) {
	_, n, err := s.skim(ctx, c, r, 0)
	return n, err
}

// readSize is how much of an answer is read at a time. HTTP/2 tells the sender of
// every read, so many small ones would measure little else.
const readSize = 256 << 10

var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// skim sends a request and returns the beginning of the answer, at most some
// bytes of it, and how long all of it is. The client does no more than that: what
// it decoded or unpacked would be counted as the server's time.
func (s *server) skim(ctx context.Context, c *http.Client, r request, most int) (head []byte, n int64, err error) {
	body, err := s.open(ctx, c, r)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = body.Close() }()
	buffer := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buffer)
	for {
		got, err := body.Read(buffer[:])
		n += int64(got)
		head = append(head, buffer[:min(got, most-len(head))]...)
		switch {
		case errors.Is(err, io.EOF):
			return head, n, nil
		case err != nil:
			return nil, 0, err
		}
	}
}

// prepare makes what a real cluster has: namespaces with a service account.
func (s *server) prepare(ctx context.Context) error {
	c := s.client()
	defer c.CloseIdleConnections()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	for _, ns := range []string{namespace, listedNamespace, heldNamespace, boundNamespace} {
		objects := []struct {
			path string
			obj  runtime.Object
		}{
			{"/api/v1/namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}},
			{"/api/v1/namespaces/" + ns + "/serviceaccounts", account},
		}
		for _, o := range objects {
			body, err := encode(o.obj)
			if err != nil {
				return err
			}
			err = s.eventually(ctx, c, request{method: http.MethodPost, path: o.path, contentType: jsonType, body: body})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// eventually sends a request until it succeeds or what it makes is there.
func (s *server) eventually(ctx context.Context, c *http.Client, r request) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := s.do(ctx, c, r)
		var status *statusError
		if err == nil || errors.As(err, &status) && status.code == http.StatusConflict {
			return nil
		}
		if wait(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

func encode(obj runtime.Object) ([]byte, error) {
	encoder := scheme.Codecs.LegacyCodec(scheme.Scheme.PrioritizedVersionsAllGroups()...)
	return runtime.Encode(encoder, obj)
}

// configMap is a small object as users have them: 1 KiB of data.
func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}},
		Data:       map[string]string{"settings": strings.Repeat("setting: value\n", 68)},
	}
}

// pod is one of about two kilobytes that no scheduler takes. One in a hundred
// has the label shard=picked.
func pod(i int) *corev1.Pod {
	shard := "rest"
	if i%100 == 0 {
		shard = "picked"
	}
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:        fmt.Sprintf("pod-%06d", i),
			Labels:      map[string]string{"app": "bench", "shard": shard, "tier": "backend", "release": "stable"},
			Annotations: map[string]string{"bench/notes": strings.Repeat("n", 300)},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "none", TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example.com/team/backend:v1.2.3", Command: []string{"/backend", "--listen=:8080"},
				Env: []corev1.EnvVar{
					{Name: "MODE", Value: "production"},
					{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			}},
		},
	}
}
