package pods_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// staticPod is a manifest for the folder of static pods.
const staticPod = `apiVersion: v1
kind: Pod
metadata: {name: static, labels: {app: static}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "` + testcluster.BusyboxImage + `", command: [sh, -c, 'echo VERSION; exec sleep 1000']}]
`

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testStatic runs a pod from a file, takes its mirror away, changes the file
// and removes it.
func (s suite) testStatic(t *testing.T, dir string) {
	file := filepath.Join(dir, "static.yaml")
	write := func(version string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.Replace(staticPod, "VERSION", version, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	name := "static-" + s.nodeName(t)
	first := s.untilReady(t, name)
	if first.Annotations[corev1.MirrorPodAnnotationKey] == "" || first.Annotations["kubernetes.io/config.source"] != "file" {
		t.Errorf("its annotations: %v", first.Annotations)
	}
	if o := metav1.GetControllerOf(first); o == nil || o.Kind != "Node" || o.Name != first.Spec.NodeName {
		t.Errorf("its owner: %+v", o)
	}
	s.Kubectl(t, "delete", "pod", name, "--wait=false")
	again := s.until(t, name, "is mirrored again", func(p *corev1.Pod) error {
		if p == nil || p.UID == first.UID || conditionOf(p, corev1.PodReady).Status != corev1.ConditionTrue {
			return errors.New("it is not")
		}
		return nil
	})
	if a, b := statusOf(first, "c"), statusOf(again, "c"); a.ContainerID != b.ContainerID || b.RestartCount != 0 {
		t.Errorf("the container was %s and is %s", a.ContainerID, b.ContainerID)
	}
	write("two")
	s.until(t, name, "is replaced", func(p *corev1.Pod) error {
		if p == nil || p.UID == again.UID || conditionOf(p, corev1.PodReady).Status != corev1.ConditionTrue {
			return errors.New("it is not")
		}
		return nil
	})
	s.untilLog(t, name, "two\n")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.untilGone(t, name)
}

func (s suite) nodeName(t *testing.T) string {
	t.Helper()
	nodes, err := s.clients.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("the nodes: %v, %v", nodes, err)
	}
	return nodes.Items[0].Name
}

// untilLog waits for a container's whole log.
func (s suite) untilLog(t *testing.T, name, want string) {
	t.Helper()
	testcluster.Eventually(t, name+" has written all", func() error {
		if got := s.log(t, name, corev1.PodLogOptions{}); got != want {
			return fmt.Errorf("it has written %q, want %q", got, want)
		}
		return nil
	})
}

// testHostPort reaches a pod by a port of its node.
func (s suite) testHostPort(t *testing.T) {
	const spec = `
containers:
- name: c
  command: [sh, -c, 'echo by host port > /www/f; exec httpd -f -p 8080 -h /www']
  ports: [{containerPort: 8080, hostPort: 18081}]
  readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`
	s.create(t, "host-port", spec)
	pod := s.untilReady(t, "host-port")
	testcluster.Eventually(t, "the host port answers", func() error {
		resp, err := http.Get("http://" + pod.Status.HostIP + ":18081/f")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "by host port\n" {
			return fmt.Errorf("it answers %q, %w", b, err)
		}
		return nil
	})
	s.create(t, "host-port-taken", spec)
	s.untilEvent(t, "host-port-taken", "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports")
}

// testEphemeral debugs a running pod.
func (s suite) testEphemeral(t *testing.T) {
	s.create(t, "debugged", `{containers: [{name: c, command: [sleep, "1234"]}]}`)
	s.untilReady(t, "debugged")
	s.Kubectl(t, "debug", "debugged", "--image="+testcluster.BusyboxImage, "--container=probe", "--profile=general", "--", "sh", "-c", "ps; hostname")
	pod := s.until(t, "debugged", "has run the ephemeral container", func(p *corev1.Pod) error {
		if statusOf(p, "probe").State.Terminated == nil {
			return errors.New("it has not")
		}
		return nil
	})
	if st := statusOf(pod, "probe"); st.State.Terminated.ExitCode != 0 || st.RestartCount != 0 {
		t.Errorf("it ended with %+v", st)
	}
	log := s.log(t, "debugged", corev1.PodLogOptions{Container: "probe"})
	if !strings.HasSuffix(log, "debugged\n") {
		t.Errorf("it saw:\n%s", log)
	}
	if conditionOf(pod, corev1.PodReady).Status != corev1.ConditionTrue {
		t.Error("the pod is no longer ready")
	}
}

// testLogs reads logs in each way, and one that was rotated.
func (s suite) testLogs(t *testing.T) {
	s.create(t, "writes", `
restartPolicy: Never
containers: [{name: c, command: [sh, -c, 'seq 1 20000; echo last']}]
`)
	s.untilPhase(t, "writes", corev1.PodSucceeded)
	two, bytes := int64(2), int64(9)
	if got := s.log(t, "writes", corev1.PodLogOptions{TailLines: &two}); got != "20000\nlast\n" {
		t.Errorf("the last two lines: %q", got)
	}
	if got := s.log(t, "writes", corev1.PodLogOptions{LimitBytes: &bytes, TailLines: &two}); got != "20000\nlas" {
		t.Errorf("nine bytes: %q", got)
	}
	files, err := filepath.Glob(filepath.Join(s.Dir, "nodes", "*", "logs", "*_writes_*", "c", "0.log*"))
	if err != nil || len(files) < 2 {
		t.Errorf("the log was not rotated: %v, %v", files, err)
	}
	if got := s.log(t, "writes", corev1.PodLogOptions{}); !strings.HasSuffix(got, "\n19999\n20000\nlast\n") {
		t.Errorf("the whole log ends with %q", got[max(0, len(got)-40):])
	}
}

// testDescribe checks the events that kubectl shows of a plain pod.
func (s suite) testDescribe(t *testing.T) {
	s.create(t, "described", `{containers: [{name: c, command: [sleep, "1000"], resources: {limits: {memory: 16Mi, cpu: 100m}}}]}`)
	s.untilReady(t, "described")
	s.untilEvent(t, "described", "Normal Started")
	out := s.Kubectl(t, "describe", "pod", "described")
	for _, want := range []string{
		"QoS Class:                   Guaranteed", "State:          Running", "Successfully assigned default/described to ",
		`Container image "test.local/busybox:1" already present on machine`, "Created", "Started", "runc://", "kube-api-access-",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("describe does not show %q:\n%s", want, out)
		}
	}
}
