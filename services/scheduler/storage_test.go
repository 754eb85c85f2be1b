package scheduler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// withHostPath makes a volume one that the Store takes.
func withHostPath(pv *corev1.PersistentVolume) *corev1.PersistentVolume {
	pv.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/data"}
	return pv
}

func TestPodGoesWhereAVolumeCanBeBound(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	pv := withHostPath(schedtest.Volume("v", "static", "n2"))
	c.create(schedtest.Class("static", volume.NotSupportedProvisioner))
	c.create(pv)
	pv.Status.Phase = corev1.VolumeAvailable
	if err := c.UpdateStatus(t.Context(), pv); err != nil {
		t.Fatal(err)
	}
	c.create(schedtest.Pod("p").Claims("data").Pod())
	c.until("the pod says what it lacks", func() bool {
		pod, ok := c.pods.Get("default", "p")
		return ok && conditionMessage(pod) == `0/2 nodes are available: persistentvolumeclaim "data" not found. `+
			`preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.`
	})
	c.create(schedtest.Claim("data", "static"))
	awaitTaken(t, c.scheduler.storage, "v", "data")
	if pod, _ := c.pods.Get("default", "p"); pod.Spec.NodeName != "" {
		t.Error("the pod is bound before its claim is")
	}
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.Get(t.Context(), "default", "data", claim); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), schedtest.Bound(claim, "v")); err != nil {
		t.Fatal(err)
	}
	c.until("the pod is where its volume is", func() bool {
		pod, ok := c.pods.Get("default", "p")
		return ok && pod.Spec.NodeName == "n2"
	})
}

// The space that a driver tells of wakes a pod whose claim waits for it.
func TestPodGoesWhereThereIsSpace(t *testing.T) {
	known := []kinds.Object{schedtest.Driver("disk.example.com"), schedtest.Class("dynamic", "disk.example.com"), schedtest.Claim("data", "dynamic")}
	c := startOver(t, telemetry.Discard("scheduler"), func(*Config) {}, known, schedtest.Node("n1"), schedtest.Node("n2"))
	c.create(schedtest.Pod("p").Claims("data").Pod())
	c.until("the pod says what it lacks", func() bool {
		pod, ok := c.pods.Get("default", "p")
		return ok && conditionMessage(pod) == `0/2 nodes are available: 2 node(s) did not have enough free storage. `+
			`preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.`
	})
	told := schedtest.Capacity("dynamic", "n2", "512Mi")
	told.Namespace = "default"
	c.create(told)
	told.Capacity = ptr.To(resource.MustParse("2Gi"))
	if err := c.Update(t.Context(), told); err != nil {
		t.Fatal(err)
	}
	w := c.scheduler.storage
	awaitStorage(t, w, "the claim is given its node", func() bool {
		claim, ok := w.Claim("default", "data")
		return ok && claim.Annotations[volume.AnnSelectedNode] == "n2"
	})
}

// awaitTaken waits until the scheduler sees that it has taken a volume.
func awaitTaken(t *testing.T, w *storageWatch, pv, claim string) {
	t.Helper()
	awaitStorage(t, w, "volume "+pv+" is taken for claim "+claim, func() bool {
		have, ok := w.Volume(pv)
		return ok && have.Spec.ClaimRef != nil && have.Spec.ClaimRef.Name == claim
	})
}

// awaitStorage waits until something holds of the claims and volumes that the
// scheduler sees.
func awaitStorage(t *testing.T, w *storageWatch, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := w.Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("it never happens that %s", what)
		}
	}
}

func conditionMessage(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Message
		}
	}
	return ""
}
