package store_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/storetest"
)

func TestOldestEventsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := store.DefaultConfig()
		cfg.MaxEvents = 20
		c := storetest.New(t, storetest.WithConfig(cfg)).Client(storetest.Admin())
		for i := range 30 {
			create(t, c, &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("e%02d", 99-i)},
				InvolvedObject: corev1.ObjectReference{Namespace: "default", Kind: "Pod", Name: "p"},
			})
		}
		time.Sleep(2 * time.Minute)
		var left corev1.EventList
		if err := c.List(t.Context(), &left, client.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		if len(left.Items) != 18 || left.Items[0].Name != "e70" || left.Items[17].Name != "e87" {
			t.Errorf("%d events are left, of %s to %s", len(left.Items), left.Items[0].Name, left.Items[len(left.Items)-1].Name)
		}
	})
}
