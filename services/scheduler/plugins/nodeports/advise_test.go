package nodeports

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestAdvise(t *testing.T) {
	http := corev1.ContainerPort{HostPort: 80, Protocol: corev1.ProtocolTCP}
	holder := func(change func(*corev1.Pod)) *schedtest.PodBuilder {
		return ports(http).With(func(p *corev1.Pod) { p.Name, p.UID = "holder", "holder" }).With(change)
	}
	for _, tt := range []struct {
		name   string
		there  *schedtest.PodBuilder
		detail string
		want   []string
	}{
		{"free", schedtest.Pod("holder"), "", nil},
		{"taken", holder(func(*corev1.Pod) {}), "host port 80/TCP is taken", []string{"evict default/holder", "use another host port than 80/TCP"}},
		{"taken by one that is going", holder(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), "host port 80/TCP is taken",
			[]string{"wait for the end of default/holder", "use another host port than 80/TCP"}},
		{"taken by a more important one", holder(func(*corev1.Pod) {}).Priority(1), "host port 80/TCP is taken", []string{"use another host port than 80/TCP"}},
	} {
		got := New().Advise(t.Context(), nil, ports(http).Info(), schedtest.Node("n").Pods(tt.there).Info())
		var texts []string
		for _, r := range got.Remedies {
			texts = append(texts, r.Description)
		}
		if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
			t.Errorf("%s: %q %s", tt.name, got.Detail, diff)
		}
	}
}
