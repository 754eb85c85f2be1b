package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/apistatus"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// HTTP returns what answers requests at the node's own port, by the paths of a
// kubelet. Who asks has been authorized.
//
//	/exec/{namespace}/{pod}[/{uid}]/{container}         runs a command, joined to the client's streams
//	/attach/{namespace}/{pod}[/{uid}]/{container}       joins those of the main process
//	/portForward/{namespace}/{pod}[/{uid}]              forwards ports
//	/run/{namespace}/{pod}[/{uid}]/{container}          runs a command and returns its output
//	/checkpoint/{namespace}/{pod}/{container}           refuses
//	/containerLogs/{namespace}/{pod}/{container}        a container's log
//	/runningpods/                                       what the runtime runs
//	everything else                                     the pages
func (s *Server) HTTP() http.Handler {
	mux := http.NewServeMux()
	node := s.local()
	dial := func(ctx context.Context) (context.Context, nodev1.NodeServiceClient, error) { return ctx, node, nil }
	both := []string{http.MethodGet, http.MethodPost}
	ofContainer := func(path string, methods []string, h handler) {
		mux.Handle(path+"/{namespace}/{pod}/{container}", only(methods, h))
		mux.Handle(path+"/{namespace}/{pod}/{uid}/{container}", only(methods, h))
	}
	ofContainer("/exec", both, s.httpExec(dial))
	ofContainer("/attach", both, s.httpAttach(dial))
	ofContainer("/run", []string{http.MethodPost}, s.httpRun)
	mux.Handle("/portForward/{namespace}/{pod}", only(both, s.httpPortForward(dial)))
	mux.Handle("/portForward/{namespace}/{pod}/{uid}", only(both, s.httpPortForward(dial)))
	mux.Handle("/checkpoint/{namespace}/{pod}/{container}", only([]string{http.MethodPost}, s.httpCheckpoint))
	mux.Handle("/", s.reads)
	return mux
}

// newReads returns what answers requests that only read.
func (s *Server) newReads(pages http.Handler) http.Handler {
	get := []string{http.MethodGet}
	mux := http.NewServeMux()
	mux.Handle("/containerLogs/{namespace}/{pod}/{container}", only(get, s.httpLogs))
	mux.Handle("/runningpods/{$}", only(get, s.httpRunningPods))
	mux.Handle("/", pages)
	return mux
}

// handler answers a request. Its error is one only while nothing was written.
type handler func(w http.ResponseWriter, r *http.Request) error

// only returns what answers requests of some methods, and errors in words, as
// kubelets do.
func only(methods []string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		err := h(w, r)
		var known *httpError
		switch {
		case err == nil:
		case errors.As(err, &known):
			http.Error(w, known.text, known.code)
		default:
			status := apistatus.Of(asStatus(err))
			http.Error(w, status.Message, int(status.Code))
		}
	})
}

// httpError is an answer in words.
type httpError struct {
	code int
	text string
}

func (e *httpError) Error() string { return e.text }

func answer(code int, format string, args ...any) error {
	return &httpError{code, fmt.Sprintf(format, args...)}
}

// pod finds the pod that a path names.
func (s *Server) pod(r *http.Request) (podworker.PodInfo, error) {
	info, err := s.pods.Pod(r.Context(), r.PathValue("namespace"), r.PathValue("pod"))
	if errors.Is(err, podworker.ErrNoPod) {
		return info, answer(http.StatusNotFound, "pod does not exist")
	}
	if err != nil {
		return info, err
	}
	if uid := r.PathValue("uid"); uid != "" && uid != string(info.Object.UID) {
		return info, answer(http.StatusNotFound, "pod not found")
	}
	return info, nil
}

// running finds the running container that a path names.
func (s *Server) running(r *http.Request) (podworker.ContainerInfo, error) {
	if _, err := s.pod(r); err != nil {
		return podworker.ContainerInfo{}, err
	}
	name := r.PathValue("container")
	info, err := s.pods.Container(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), name)
	if errors.Is(err, podworker.ErrNoPod) || errors.Is(err, podworker.ErrWaiting) || err == nil && !info.Running {
		return info, answer(http.StatusNotFound, "container not found (%q)", name)
	}
	return info, err
}

// httpCheckpoint refuses: there is no format in which a container would be kept.
func (s *Server) httpCheckpoint(_ http.ResponseWriter, r *http.Request) error {
	info, err := s.pod(r)
	if err != nil {
		return err
	}
	name := r.PathValue("container")
	if !declares(info.Object, name) {
		return answer(http.StatusNotFound, "container %v does not exist", name)
	}
	return answer(http.StatusInternalServerError, "checkpointing of %s/%s/%s failed (this agent does not support checkpoints)",
		r.PathValue("namespace"), r.PathValue("pod"), name)
}

// declares says whether a pod has a container of that name.
func declares(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if slices.ContainsFunc(list, func(c corev1.Container) bool { return c.Name == name }) {
			return true
		}
	}
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

// httpRunningPods shows what the runtime runs, without what only the API knows.
func (s *Server) httpRunningPods(w http.ResponseWriter, r *http.Request) error {
	sandboxes, err := s.runtime.ListSandboxes(r.Context())
	if err != nil {
		return fmt.Errorf("list the sandboxes: %w", err)
	}
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: make([]corev1.Pod, 0, len(sandboxes))}
	for _, sandbox := range sandboxes {
		if !sandbox.Ready {
			continue
		}
		spec := sandbox.Spec
		containers, err := s.runtime.ListContainers(r.Context(), spec.UID)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list the containers of pod %s/%s: %w", spec.Namespace, spec.Name, err)
		}
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: spec.Namespace, Name: spec.Name, UID: types.UID(spec.UID)}}
		for _, c := range containers {
			if c.State == runtime.StateRunning {
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Spec.Name, Image: c.Spec.ImageID})
			}
		}
		list.Items = append(list.Items, pod)
	}
	body, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write the pods: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who asked has gone
	return nil
}
