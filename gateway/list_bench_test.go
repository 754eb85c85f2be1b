package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// benchPods is how many pods a benchmark's list holds.
const benchPods = 5000

// BenchmarkList reads a list of pods as JSON through the gateway and, for
// comparison, the same bytes from a plain handler.
func BenchmarkList(b *testing.B) {
	c := start(b, noNodes{})
	pods := c.clientset("application/vnd.kubernetes.protobuf").CoreV1().Pods("default")
	for i := range benchPods {
		if _, err := pods.Create(b.Context(), benchPod(i), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	client := c.http("admin")
	const path = "/api/v1/namespaces/default/pods?resourceVersion=0"
	whole := c.do(client, "GET", path, nil)
	b.Run("gateway", func(b *testing.B) { fetch(b, client, c.address+path, len(whole.body)) })

	plain := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, strings.NewReader(whole.body))
	}))
	plain.EnableHTTP2 = true
	plain.StartTLS()
	defer plain.Close()
	plainClient := plain.Client()
	plainClient.Transport.(*http.Transport).DisableCompression = true
	b.Run("plain", func(b *testing.B) { fetch(b, plainClient, plain.URL, len(whole.body)) })
}

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%05d", i), Labels: map[string]string{"app": "bench", "index": fmt.Sprint(i)}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "registry.example/team/application:v1.2.3", Args: []string{"--listen=:8080", "--verbose"},
			Env:   []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
		}}},
	}
}

// fetch reads the body at url again and again.
func fetch(b *testing.B, client *http.Client, url string, size int) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := client.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || int(n) != size {
			b.Fatalf("read %d bytes of %d: %v", n, size, err)
		}
		if err := resp.Body.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
