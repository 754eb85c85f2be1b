package extender

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// program answers each verb with a text, and notes what it was asked.
type program struct {
	answers map[string]string
	asked   map[string]string
}

// start runs it and returns what New makes of its configuration.
func (p *program) start(t *testing.T, config configv1.Extender) *Set {
	t.Helper()
	p.asked = make(map[string]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s as %q: %v", r.Method, r.URL, r.Header.Get("Content-Type"), err)
		}
		verb := strings.TrimPrefix(r.URL.Path, "/base/")
		p.asked[verb] = string(body)
		answer, ok := p.answers[verb]
		if !ok {
			http.Error(w, "no such verb", http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	config.URLPrefix = server.URL + "/base/"
	set, err := New([]configv1.Extender{config}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func nodes() []*snapshot.NodeInfo {
	return []*snapshot.NodeInfo{schedtest.Node("n1").Info(), schedtest.Node("n2").Info(), schedtest.Node("n3").Info()}
}

// rejections are verdicts as text.
func rejections(verdicts map[string]*framework.Status) map[string]string {
	out := make(map[string]string)
	for node, s := range verdicts {
		out[node] = s.Code().String() + ": " + s.Message()
	}
	return out
}

func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config configv1.Extender
		answer string // "" is an error of HTTP
		want   map[string]string
		err    string
	}{
		{
			name: "nodes", answer: `{"nodes": {"items": [{"metadata": {"name": "n2"}}]}, "failedNodes": {"n1": "too far", "n3": "too near"}, "failedAndUnresolvableNodes": {"n3": "never"}}`,
			want: map[string]string{"n1": "Unschedulable: too far", "n3": "UnschedulableAndUnresolvable: never"},
		},
		{
			name: "names", config: configv1.Extender{NodeCacheCapable: true}, answer: `{"nodenames": ["n1", "n2", "n3"]}`,
			want: map[string]string{},
		},
		{name: "none, by a failing program", err: `418 I'm a teapot: "no such verb\n"`},
		{name: "all, by a failing program that may fail", config: configv1.Extender{Ignorable: true}, want: map[string]string{}},
		{name: "an error in the answer", answer: `{"error": "out of order"}`, err: "out of order"},
		{name: "no JSON", answer: `<html>`, err: "decode the answer"},
		{name: "a node that was not asked about", answer: `{"nodes": {"items": [{"metadata": {"name": "n9"}}]}}`, err: `claims a filtered node "n9"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.FilterVerb = "filter"
			p := &program{answers: map[string]string{}}
			if tt.answer != "" {
				p.answers["filter"] = tt.answer
			}
			set := p.start(t, tt.config)
			verdicts, err := set.Extenders[0].Filter(t.Context(), schedtest.Pod("p").Info(), nodes())
			if tt.err != "" || err != nil {
				if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%v, not %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, rejections(verdicts)); diff != "" {
				t.Error(diff)
			}
			var args extenderv1.ExtenderArgs
			if err := json.Unmarshal([]byte(p.asked["filter"]), &args); err != nil {
				t.Fatal(err)
			}
			if byName := args.NodeNames != nil; args.Pod.Name != "p" || byName != tt.config.NodeCacheCapable || byName == (args.Nodes != nil) {
				t.Errorf("asked %s", p.asked["filter"])
			}
		})
	}
}

// A program that says nothing of a node has filtered it out.
func TestSilenceIsNo(t *testing.T) {
	p := &program{answers: map[string]string{"filter": `{"nodes": {"items": []}}`}}
	set := p.start(t, configv1.Extender{FilterVerb: "filter"})
	verdicts, err := set.Extenders[0].Filter(t.Context(), schedtest.Pod("p").Info(), nodes())
	if err != nil || len(verdicts) != 3 || !strings.HasPrefix(verdicts["n1"].Message(), "node(s) were filtered out by extender http://") {
		t.Errorf("%v %v", rejections(verdicts), err)
	}
}

func TestScore(t *testing.T) {
	p := &program{answers: map[string]string{"prioritize": `[{"host": "n1", "score": 3}, {"host": "n2", "score": 99}, {"host": "n3", "score": -1}]`}}
	set := p.start(t, configv1.Extender{PrioritizeVerb: "prioritize", Weight: 7})
	scores, err := set.Extenders[0].Score(t.Context(), schedtest.Pod("p").Info(), nodes())
	if diff := cmp.Diff(map[string]int64{"n1": 30, "n2": 100, "n3": 0}, scores); diff != "" || err != nil || set.Extenders[0].Weight != 7 {
		t.Errorf("%v %s", err, diff)
	}
}

func TestInterested(t *testing.T) {
	p := &program{}
	set := p.start(t, configv1.Extender{ManagedResources: []configv1.ExtenderManagedResource{{Name: "example.com/one", IgnoredByScheduler: true}, {Name: "example.com/two"}}})
	two := schedtest.Pod("two").Request("example.com/two", "1").Pod()
	inInit := schedtest.Pod("init").Pod()
	inInit.Spec.InitContainers = []corev1.Container{{Resources: two.Spec.Containers[0].Resources}}
	for pod, want := range map[*corev1.Pod]bool{two: true, inInit: true, schedtest.Pod("none").CPU("1").Pod(): false} {
		if got := set.Extenders[0].Interested(pod); got != want {
			t.Errorf("%s: %v", pod.Name, got)
		}
	}
	if !slices.Equal(set.Ignored, []string{"example.com/one"}) {
		t.Errorf("ignored: %v", set.Ignored)
	}
}

func TestPreempt(t *testing.T) {
	victim := func(name string) *schedtest.PodBuilder { return schedtest.Pod(name).Node("n1") }
	node := schedtest.Node("n1").Pods(victim("a"), victim("b"))
	on := snapshot.New(node.Info(), schedtest.Node("n2").Pods(victim("c")).Info())
	candidates := []framework.Candidate{
		{Node: "n1", Victims: on.Get("n1").Pods[:1]}, {Node: "n2", Victims: on.Get("n2").Pods},
	}
	for _, tt := range []struct {
		name      string
		ignorable bool
		answer    string
		want      map[string]string
		err       string
	}{
		{name: "another victim", answer: `{"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "b"}], "NumPDBViolations": 1}}}`, want: map[string]string{"n1": "b"}},
		{name: "none", answer: `{}`, want: map[string]string{}},
		{name: "no victims", answer: `{"NodeNameToMetaVictims": {"n1": {}}}`, err: "names no victims"},
		{name: "no victims, may fail", ignorable: true, answer: `{"NodeNameToMetaVictims": {"n1": {}, "n2": {"Pods": [{"UID": "c"}]}}}`, want: map[string]string{"n2": "c"}},
		{name: "somebody else", answer: `{"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "c"}]}}}`, err: `victim "c" that is not on node "n1"`},
		{name: "somebody else, may fail", ignorable: true, answer: `{"NodeNameToMetaVictims": {"n1": {"Pods": [null]}}}`, want: map[string]string{"n1": "a", "n2": "c"}},
		{name: "elsewhere", answer: `{"NodeNameToMetaVictims": {"n9": {"Pods": [{"UID": "c"}]}}}`, err: `node "n9", which is no candidate`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &program{answers: map[string]string{"preempt": tt.answer}}
			set := p.start(t, configv1.Extender{PreemptVerb: "preempt", Ignorable: tt.ignorable})
			left, err := set.Extenders[0].Preempt(t.Context(), schedtest.Pod("p").Info(), on, candidates)
			if tt.err != "" || err != nil {
				if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%v, not %q", err, tt.err)
				}
				return
			}
			got := make(map[string]string)
			for _, c := range left {
				for _, v := range c.Victims {
					got[c.Node] += v.Pod.Name
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(p.asked["preempt"], `"NodeNameToVictims":{"n1":{"Pods":[{`) {
				t.Errorf("asked %s", p.asked["preempt"])
			}
		})
	}
}

func TestBind(t *testing.T) {
	managed := []configv1.ExtenderManagedResource{{Name: "example.com/one"}}
	mine, other := schedtest.Pod("mine").Request("example.com/one", "1").Info(), schedtest.Pod("other").Info()
	for _, tt := range []struct {
		name      string
		ignorable bool
		answer    string
		want      []framework.Code
	}{
		{"bound", false, `{}`, []framework.Code{framework.Success, framework.Skip}},
		{"failed", false, `{"error": "no"}`, []framework.Code{framework.Error, framework.Skip}},
		{"failed, may fail", true, `{"error": "no"}`, []framework.Code{framework.Skip, framework.Skip}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &program{answers: map[string]string{"bind": tt.answer}}
			set := p.start(t, configv1.Extender{BindVerb: "bind", Ignorable: tt.ignorable, ManagedResources: managed})
			var got []framework.Code
			for _, s := range set.Binder.Bind(t.Context(), []framework.Binding{{Pod: mine, Node: "n1"}, {Pod: other, Node: "n1"}}) {
				got = append(got, s.Code())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%v", got)
			}
			var args extenderv1.ExtenderBindingArgs
			if err := json.Unmarshal([]byte(p.asked["bind"]), &args); err != nil || args.PodName != "mine" || args.PodUID != mine.Pod.UID || args.Node != "n1" {
				t.Errorf("asked %s: %v", p.asked["bind"], err)
			}
		})
	}
}

// Two extenders at one place are told apart.
func TestNames(t *testing.T) {
	set, err := New([]configv1.Extender{{URLPrefix: "http://x"}, {URLPrefix: "http://x"}, {URLPrefix: "http://y"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, e := range set.Extenders {
		seen[e.Name] = true
	}
	if want := []string{"http://x", "http://x (extenders[1])", "http://y"}; !slices.Equal(slices.Sorted(maps.Keys(seen)), want) {
		t.Errorf("%v", seen)
	}
}

func TestMissingCertificate(t *testing.T) {
	_, err := New([]configv1.Extender{{URLPrefix: "https://x", TLSConfig: &configv1.ExtenderTLSConfig{CAFile: "/does/not/exist"}}}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "extenders[0]: connect to https://x: open /does/not/exist") {
		t.Errorf("%v", err)
	}
}
