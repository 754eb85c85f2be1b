package store_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/storetest"
)

// told is a binding of a pod with an Event that tells of it.
func told(t *testing.T, pod string, change func(*corev1.Event)) *storev1.Binding {
	t.Helper()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: pod + ".1"},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: pod},
		Reason:         "Scheduled", Type: corev1.EventTypeNormal, Source: corev1.EventSource{Component: "default-scheduler"},
	}
	change(event)
	encoded, err := kinds.Encode(event)
	if err != nil {
		t.Fatal(err)
	}
	return &storev1.Binding{Namespace: "default", Name: pod, NodeName: "n1", Event: &storev1.Object{Object: encoded}}
}

// The Event of a binding is stored with it, at its revision, or not at all.
func TestBindStoresTheEvent(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	create(t, c, pod("a"), pod("b"))
	as := func(*corev1.Event) {}
	reasons := bind(t, c, told(t, "a", as), told(t, "absent", as),
		told(t, "b", func(e *corev1.Event) { e.InvolvedObject.Namespace = "elsewhere" }))
	if reasons[0] != "" || reasons[1] != "NotFound" || reasons[2] != "" {
		t.Errorf("outcomes %q", reasons)
	}
	bound, event := pod("a"), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a.1"}}
	for _, obj := range []kinds.Object{bound, event} {
		if err := reread(t, c, obj); err != nil {
			t.Fatal(err)
		}
	}
	if bound.ResourceVersion != event.ResourceVersion || event.UID == "" || event.CreationTimestamp.IsZero() {
		t.Errorf("the pod is at %s, its event is %+v", bound.ResourceVersion, event.ObjectMeta)
	}
	for _, name := range []string{"absent.1", "b.1"} {
		if err := c.Get(t.Context(), "default", name, &corev1.Event{}); !apierrors.IsNotFound(err) {
			t.Errorf("event %s: %v, want none", name, err)
		}
	}
	other := pod("b")
	if err := reread(t, c, other); err != nil || other.Spec.NodeName != "n1" {
		t.Errorf("the pod whose event is refused: node %q, %v", other.Spec.NodeName, err)
	}
}

// unlessEvents allows everything but to create events.
type unlessEvents struct{}

func (unlessEvents) Authorize(_ context.Context, a access.Attributes) (access.Decision, error) {
	return access.Decision{Allowed: a.Resource != "events"}, nil
}

func TestBindAuthorizesTheEvent(t *testing.T) {
	c := storetest.New(t, storetest.WithControl(func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: unlessEvents{}}, nil
	})).Client(storetest.Admin())
	create(t, c, pod("a"))
	_, err := c.Store().Bind(t.Context(), &storev1.BindRequest{Bindings: []*storev1.Binding{told(t, "a", func(*corev1.Event) {})}})
	if err := apistatus.FromGRPC(err); !apierrors.IsForbidden(err) {
		t.Errorf("an event that the caller may not create: %v", err)
	}
	p := pod("a")
	if err := reread(t, c, p); err != nil || p.Spec.NodeName != "" {
		t.Errorf("bound to %q all the same: %v", p.Spec.NodeName, err)
	}
}
