// Package pods_test runs pods of every shape on one node and checks that they
// behave as on Kubernetes: what containers see, in which order they start and
// end, and what the API says of them.
package pods_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/testcluster"
)

const (
	namespace = metav1.NamespaceDefault
	// longestWait bounds the wait for a pod on a slow and busy machine; it only
	// says how long a broken test hangs.
	longestWait = time.Minute
)

// suite is the cluster that all tests of this package share.
type suite struct {
	*testcluster.Cluster
	clients kubernetes.Interface
	pods    *podWatch
}

// newSuite starts the cluster and follows its pods.
func newSuite(t *testing.T, args ...string) suite {
	t.Helper()
	s := suite{Cluster: testcluster.Start(t, testcluster.Options{Args: args})}
	s.LoadBusybox(t)
	s.clients = s.Clientset(t)
	s.pods = followPods(t, s.clients)
	return s
}

// podWatch knows every pod as the API shows it.
type podWatch struct {
	store cache.Store

	mu      sync.Mutex
	changed chan struct{}          // closed at the next change
	gone    map[string]*corev1.Pod // by name: as a pod was last, once it is deleted
}

func followPods(t *testing.T, c kubernetes.Interface) *podWatch {
	t.Helper()
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().Pods().Informer()
	w := &podWatch{store: informer.GetStore(), changed: make(chan struct{}), gone: make(map[string]*corev1.Pod)}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.wake() }, UpdateFunc: func(any, any) { w.wake() }, DeleteFunc: w.deleted,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the watch of pods does not begin")
	}
	return w
}

// deleted keeps how a pod was last: its end may be shown by its deletion only.
func (w *podWatch) deleted(obj any) {
	if pod, ok := obj.(*corev1.Pod); ok {
		w.mu.Lock()
		w.gone[pod.Name] = pod
		w.mu.Unlock()
	}
	w.wake()
}

// last returns how a pod that is gone was last, nil if that is not known.
func (w *podWatch) last(name string) *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone[name]
}

func (w *podWatch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// next returns what closes at the next change.
func (w *podWatch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// get returns a pod, nil if there is none.
func (w *podWatch) get(name string) *corev1.Pod {
	obj, ok, _ := w.store.GetByKey(namespace + "/" + name)
	if !ok {
		return nil
	}
	return obj.(*corev1.Pod)
}

// create creates a pod from its name and its spec in YAML, which need not
// name the image: all run busybox, and end at once when told to.
func (s suite) create(t *testing.T, name, spec string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: namespace,
		Labels: map[string]string{"tier": "backend"}, Annotations: map[string]string{"note": "two words"},
	}}
	if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
		t.Fatalf("read the pod's spec: %v\n%s", err, spec)
	}
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		pod.Spec.TerminationGracePeriodSeconds = new(int64)
		*pod.Spec.TerminationGracePeriodSeconds = 1
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = testcluster.BusyboxImage
			}
		}
	}
	made, err := s.clients.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create the pod %s: %v", name, err)
	}
	t.Cleanup(func() { s.remove(name) })
	return made
}

// remove gives the node's capacity back before the suite ends.
func (s suite) remove(name string) {
	zero := int64(0)
	// A pod that is gone already is what is wanted.
	_ = s.clients.CoreV1().Pods(namespace).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
}

// until waits until check returns nil for the pod, which is nil once it is
// gone.
func (s suite) until(t *testing.T, name, what string, check func(*corev1.Pod) error) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longestWait)
	defer cancel()
	for {
		next := s.pods.next()
		pod := s.pods.get(name)
		err := check(pod)
		if err == nil {
			return pod
		}
		select {
		case <-next:
		case <-ctx.Done():
			status := []byte("gone")
			if pod != nil {
				status, _ = yaml.Marshal(pod.Status)
			}
			t.Fatalf("wait until %s %s: %v\n%s\n%s", name, what, err, status, s.events(t, name))
		}
	}
}

// untilPhase waits for the pod's phase.
func (s suite) untilPhase(t *testing.T, name string, phase corev1.PodPhase) *corev1.Pod {
	t.Helper()
	return s.until(t, name, "is "+string(phase), func(p *corev1.Pod) error {
		if p == nil || p.Status.Phase != phase {
			return fmt.Errorf("it is not %s", phase)
		}
		return nil
	})
}

// untilReady waits until the pod is ready.
func (s suite) untilReady(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	return s.until(t, name, "is ready", func(p *corev1.Pod) error {
		if p != nil && conditionOf(p, corev1.PodReady).Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("it is not ready")
	})
}

// untilGone waits until the pod is deleted.
func (s suite) untilGone(t *testing.T, name string) {
	t.Helper()
	s.until(t, name, "is gone", func(p *corev1.Pod) error {
		if p != nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
}

// untilWaiting waits until a container waits for a reason.
func (s suite) untilWaiting(t *testing.T, name, container, reason string) *corev1.ContainerStateWaiting {
	t.Helper()
	var found *corev1.ContainerStateWaiting
	s.until(t, name, container+" waits with "+reason, func(p *corev1.Pod) error {
		if p == nil {
			return fmt.Errorf("it is gone")
		}
		if w := statusOf(p, container).State.Waiting; w != nil && w.Reason == reason {
			found = w
			return nil
		}
		return fmt.Errorf("it does not")
	})
	return found
}

// statusOf returns the status of one of a pod's containers, an empty one as
// long as there is no pod.
func statusOf(p *corev1.Pod, container string) corev1.ContainerStatus {
	if p == nil {
		return corev1.ContainerStatus{}
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, cs := range list {
			if cs.Name == container {
				return cs
			}
		}
	}
	return corev1.ContainerStatus{}
}

func conditionOf(p *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	if p == nil {
		return corev1.PodCondition{}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// log returns what a container wrote.
func (s suite) log(t *testing.T, name string, options corev1.PodLogOptions) string {
	t.Helper()
	stream, err := s.clients.CoreV1().Pods(namespace).GetLogs(name, &options).Stream(t.Context())
	if err != nil {
		t.Fatalf("read the log of %s: %v", name, err)
	}
	defer stream.Close()
	b, err := io.ReadAll(stream)
	if err != nil {
		t.Fatalf("read the log of %s: %v", name, err)
	}
	return string(b)
}

// events returns the pod's events, one a line: type, reason, message.
func (s suite) events(t *testing.T, name string) string {
	t.Helper()
	list, err := s.clients.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&out, "%s %s %s\n", e.Type, e.Reason, e.Message)
	}
	return out.String()
}

// untilEvent waits for an event of the pod that holds text.
func (s suite) untilEvent(t *testing.T, name, text string) {
	t.Helper()
	testcluster.Eventually(t, fmt.Sprintf("%s has an event %q", name, text), func() error {
		if all := s.events(t, name); !strings.Contains(all, text) {
			return fmt.Errorf("its events are:\n%s", all)
		}
		return nil
	})
}

// exec runs a command in a pod.
func (s suite) exec(t *testing.T, name string, command ...string) string {
	t.Helper()
	return s.Kubectl(t, append([]string{"exec", name, "--"}, command...)...)
}
