package resourcequota

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestPace(t *testing.T) {
	var p pace
	for _, tt := range []struct{ took, after time.Duration }{
		{100 * time.Microsecond, 0}, {20 * time.Millisecond, 200 * time.Millisecond}, {time.Minute, longestPace}, {0, 0},
	} {
		p.took("ns/q", tt.took)
		if got := p.after("ns/q"); got != tt.after {
			t.Errorf("a count that took %v is repeated after %v, want %v", tt.took, got, tt.after)
		}
	}
	if p.after("ns/other") != 0 || len(p.byKey) != 0 {
		t.Errorf("what is left: %v", p.byKey)
	}
}

func TestPatienceEnds(t *testing.T) {
	var p patience
	for range 2 {
		for n := range catchUps {
			if !p.wait("ns/q") {
				t.Fatalf("a count waits %d times, want %d", n, catchUps)
			}
		}
		if p.wait("ns/q") || !p.wait("ns/other") {
			t.Error("a count waits for ever, or no other one does")
		}
		p.end("ns/q")
		p.end("ns/other")
	}
	if len(p.waits) != 0 {
		t.Errorf("what is left: %v", p.waits)
	}
}

func TestNeedsCount(t *testing.T) {
	list := func(amount string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourcePods: resource.MustParse(amount)}
	}
	counted := func(change ...func(*corev1.ResourceQuota)) *corev1.ResourceQuota {
		q := &corev1.ResourceQuota{
			Spec:   corev1.ResourceQuotaSpec{Hard: list("5")},
			Status: corev1.ResourceQuotaStatus{Hard: list("5"), Used: list("1")},
		}
		for _, f := range change {
			f(q)
		}
		return q
	}
	for _, tt := range []struct {
		name   string
		change func(*corev1.ResourceQuota)
		want   bool
	}{
		{"a charge", func(q *corev1.ResourceQuota) { q.Status.Used = list("2") }, false},
		{"labels", func(q *corev1.ResourceQuota) { q.Labels = map[string]string{"a": "b"} }, false},
		{"another limit", func(q *corev1.ResourceQuota) { q.Spec.Hard = list("6") }, true},
		{"another limit that the status tells already", func(q *corev1.ResourceQuota) { q.Spec.Hard, q.Status.Hard = list("6"), list("6") }, true},
		{"a status that tells nothing", func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} }, true},
		{"a status without what is used", func(q *corev1.ResourceQuota) { q.Status.Used = nil }, true},
		{"scopes", func(q *corev1.ResourceQuota) {
			q.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
		}, true},
		{"a selector of scopes", func(q *corev1.ResourceQuota) {
			q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{
				ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpExists,
			}}}
		}, true},
	} {
		if got := needsCount(counted(), counted(tt.change)); got != tt.want {
			t.Errorf("%s: counted again: %v, want %v", tt.name, got, tt.want)
		}
	}
}
