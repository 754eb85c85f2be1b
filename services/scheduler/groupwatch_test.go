package scheduler

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// TestSelector: service web selects app=web, service db app=db, and a service
// without a selector nothing; the controllers select by another label.
func TestSelector(t *testing.T) {
	w, err := newGroupWatch(client.NewInformers(client.New(nil, "test")))
	if err != nil {
		t.Fatal(err)
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	tier := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}}
	for _, add := range []error{
		w.services.Indexer().Add(&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}}),
		w.services.Indexer().Add(&corev1.Service{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "db"}}}),
		w.services.Indexer().Add(&corev1.Service{ObjectMeta: meta("manual")}),
		w.services.Indexer().Add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web", "x": "y"}}}),
		w.controllers.Indexer().Add(&corev1.ReplicationController{ObjectMeta: meta("rc"), Spec: corev1.ReplicationControllerSpec{Selector: map[string]string{"rc": "1"}}}),
		w.replicaSets.Indexer().Add(&appsv1.ReplicaSet{ObjectMeta: meta("rs"), Spec: appsv1.ReplicaSetSpec{Selector: tier}}),
		w.statefulSets.Indexer().Add(&appsv1.StatefulSet{ObjectMeta: meta("set"), Spec: appsv1.StatefulSetSpec{Selector: tier}}),
	} {
		if add != nil {
			t.Fatal(add)
		}
	}
	owned := func(apiVersion, kind, name string) *schedtest.PodBuilder {
		yes := true
		return schedtest.Pod("p").With(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, Controller: &yes}}
		})
	}
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		want string
	}{
		{"of none", schedtest.Pod("p"), ""},
		{"of a service", schedtest.Pod("p").Label("app", "web").Label("x", "y"), "app=web"},
		{"of a replication controller", owned("v1", "ReplicationController", "rc"), "rc=1"},
		{"of a replica set", owned("apps/v1", "ReplicaSet", "rs"), "tier"},
		{"of a stateful set and a service", owned("apps/v1", "StatefulSet", "set").Label("app", "db"), "app=db,tier"},
		{"of another kind", owned("batch/v1", "Job", "rs"), ""},
		{"of another group", owned("example.com/v1", "ReplicaSet", "rs"), ""},
		{"of one that has gone", owned("apps/v1", "ReplicaSet", "gone").Label("app", "web"), "app=web"},
	} {
		if got := w.Selector(tt.pod.Pod()); got.String() != tt.want || got.Empty() != (tt.want == "") {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}
