package events_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/events"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

func TestEventsAreStoredAndCounted(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	r := events.NewRecorder(c, "tester", "host-1", telemetry.Discard("test"))
	done := make(chan struct{})
	go func() { defer close(done); r.Run(t.Context()) }()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: types.UID("1")}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: types.UID("2")}}
	for range 3 {
		r.Event(pod, corev1.EventTypeWarning, "BackOff", "it fell over")
	}
	r.EventAt(pod, "spec.containers{main}", corev1.EventTypeNormal, "Pulled", "got the image")
	r.Event(node, corev1.EventTypeNormal, "Starting", "here I am")
	r.Close()
	<-done
	list := &corev1.EventList{}
	if err := c.List(context.Background(), list, client.ListOptions{Namespace: "default"}); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]corev1.Event)
	for _, e := range list.Items {
		got[e.Reason] = e
	}
	if len(list.Items) != 3 {
		t.Errorf("%d events are stored", len(list.Items))
	}
	e := got["BackOff"]
	if e.Count != 3 || e.Message != "it fell over" || e.Type != "Warning" || e.Source.Component != "tester" || e.Source.Host != "host-1" ||
		e.InvolvedObject.Kind != "Pod" || e.InvolvedObject.APIVersion != "v1" || e.InvolvedObject.UID != "1" || e.FirstTimestamp.IsZero() {
		t.Errorf("%+v", e)
	}
	if e := got["Pulled"]; e.InvolvedObject.FieldPath != "spec.containers{main}" {
		t.Errorf("field path %q", e.InvolvedObject.FieldPath)
	}
	if e := got["Starting"]; e.InvolvedObject.Kind != "Node" || e.Namespace != "default" {
		t.Errorf("%+v", e)
	}
}

func TestEventThatExpiredIsMadeAgain(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	r := events.NewRecorder(c, "tester", "", telemetry.Discard("test"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	informer, err := client.NewInformer[*corev1.Event](c, client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	added := make(chan *corev1.Event, 8)
	informer.AddHandler(client.Handler[*corev1.Event]{OnAdd: func(e *corev1.Event) { added <- e }})
	go informer.Run(ctx)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: types.UID("1")}}
	r.Event(pod, corev1.EventTypeNormal, "Pulled", "m")
	first := <-added
	if err := c.Delete(ctx, first.DeepCopy(), client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Event(pod, corev1.EventTypeNormal, "Pulled", "m")
	if second := <-added; second.Count != 2 || second.Name == first.Name {
		t.Errorf("%s has count %d", second.Name, second.Count)
	}
	cancel()
	<-done
}
