package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// answers is a Checker that gives prepared answers, then the last for ever.
type answers struct {
	mu   sync.Mutex
	list []bool
	at   []time.Time
}

func (a *answers) Check(context.Context, *corev1.Probe) (Verdict, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	ok := a.list[0]
	if len(a.list) > 1 {
		a.list = a.list[1:]
	}
	return verdict(ok, "")
}

type decision struct {
	Kind    Kind
	Success bool
}

// watch runs a container's probes for a while in a synctest bubble.
func watch(c *corev1.Container, check Checker, for_ time.Duration) []decision {
	var mu sync.Mutex
	var got []decision
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, c, time.Now(), false, check, Reporter{
			Decided: func(r Result) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, decision{r.Kind, r.Success})
			},
			Checked: func(Kind, bool, time.Duration) {},
			Failed:  func(Kind, string) {},
			Warned:  func(Kind, string) {},
		})
	}()
	time.Sleep(for_)
	cancel()
	<-done
	return got
}

func TestThresholds(t *testing.T) {
	probe := &corev1.Probe{PeriodSeconds: 5, FailureThreshold: 2, SuccessThreshold: 1}
	tests := []struct {
		name    string
		c       corev1.Container
		answers []bool
		want    []decision
	}{
		{"ready at once", corev1.Container{ReadinessProbe: probe}, []bool{true}, []decision{{Readiness, true}}},
		{"one failure is forgiven", corev1.Container{ReadinessProbe: probe}, []bool{true, false, true}, []decision{{Readiness, true}}},
		{"ready, not, and ready again", corev1.Container{ReadinessProbe: probe}, []bool{true, false, false, true}, []decision{{Readiness, true}, {Readiness, false}, {Readiness, true}}},
		{"startup goes first", corev1.Container{StartupProbe: probe, ReadinessProbe: probe}, []bool{false, true, true}, []decision{{Startup, true}, {Readiness, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := watch(&tt.c, &answers{list: tt.answers}, 62*time.Second)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("decisions (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		a := &answers{list: []bool{true}}
		watch(&corev1.Container{ReadinessProbe: &corev1.Probe{InitialDelaySeconds: 7, PeriodSeconds: 10}}, a, 30*time.Second)
		var at []int
		for _, when := range a.at {
			at = append(at, int(when.Sub(begun).Seconds()))
		}
		if diff := cmp.Diff([]int{7, 17, 27}, at); diff != "" {
			t.Errorf("probed at seconds (-want +got):\n%s", diff)
		}
	})
}

func TestQuickStartIsNoticedQuickly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		a := &answers{list: []bool{false, false, true}}
		watch(&corev1.Container{ReadinessProbe: &corev1.Probe{PeriodSeconds: 10}}, a, 5*time.Second)
		if len(a.at) < 3 || a.at[2].Sub(begun) > time.Second {
			t.Errorf("probed at %v", a.at)
		}
	})
}

func TestHandlers(t *testing.T) {
	var header string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get("X-Test")
		if r.URL.Path != "/ok" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	host, portText, _ := net.SplitHostPort(srv.Listener.Addr().String())
	port, _ := strconv.Atoi(portText)
	target := Target{PodIP: host, Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
	closed := srv.Listener.Addr().(*net.TCPAddr).Port + 1
	tests := []struct {
		name  string
		probe corev1.ProbeHandler
		want  bool
	}{
		{"http", corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromString("web"), HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Test", Value: "1"}}}}, true},
		{"http error", corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/bad", Port: intstr.FromInt32(int32(port))}}, false},
		{"unknown port", corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromString("none")}}, false},
		{"tcp", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}}, true},
		{"tcp refused", corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "127.255.255.254", Port: intstr.FromInt32(int32(closed))}}, false},
		{"grpc at an http server", corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port)}}, false},
	}
	for _, tt := range tests {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if ok, out := target.Check(ctx, &corev1.Probe{ProbeHandler: tt.probe}); (ok == Succeeded) != tt.want || ok == Warned {
			t.Errorf("%s: %v, %q", tt.name, ok, out)
		}
		cancel()
	}
	if header != "" && header != "1" {
		t.Errorf("header = %q", header)
	}
}

// A redirect to the container itself is followed. One to elsewhere is not: that
// counts as an answer, and the pod is told.
func TestRedirects(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
		}
	}))
	defer srv.Close()
	host, portText, _ := net.SplitHostPort(srv.Listener.Addr().String())
	port, _ := strconv.Atoi(portText)
	for to, want := range map[string]string{"/": "", "http://192.0.2.1/": "Probe terminated redirects, Response body: <a href=\"http://192.0.2.1/\">Found</a>.\n\n"} {
		p := &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/?to=" + to, Port: intstr.FromInt32(int32(port))}}}
		ctx, cancel := context.WithCancel(t.Context())
		var warned, failed string
		var ready bool
		Watch(ctx, &corev1.Container{ReadinessProbe: p}, time.Now(), true, Target{PodIP: host}, Reporter{
			Decided: func(r Result) { ready = r.Success; cancel() },
			Checked: func(Kind, bool, time.Duration) {},
			Failed:  func(_ Kind, output string) { failed = output; cancel() },
			Warned:  func(_ Kind, output string) { warned = output },
		})
		if !ready || warned != want || failed != "" {
			t.Errorf("to %s: ready %v, warned %q, failed %q", to, ready, warned, failed)
		}
	}
}
