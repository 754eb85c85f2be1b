package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// rules let plugin "fit" be helped by new nodes, and by deleted pods of any
// name but "useless"; "taints" by taint updates.
type rules struct{}

func (rules) Less(a, b *framework.QueuedPod) bool {
	if a.Priority() != b.Priority() {
		return a.Priority() > b.Priority()
	}
	return a.Since.Before(b.Since)
}

func (rules) PreEnqueue(pod *snapshot.PodInfo) *framework.Status {
	if len(pod.Pod.Spec.SchedulingGates) > 0 {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, "gated")
	}
	return nil
}

func (rules) Hints(_ *snapshot.PodInfo, plugin string) []framework.EventHint {
	switch plugin {
	case "fit":
		useful := func(_ *snapshot.PodInfo, e framework.Event) bool { return e.Old.GetName() != "useless" }
		return []framework.EventHint{
			{Resource: framework.Node, Action: framework.Add},
			{Resource: framework.AssignedPod, Action: framework.Delete, Helps: useful},
			{Resource: framework.WaitingPod, Action: framework.ScaleDown},
		}
	case "taints":
		return []framework.EventHint{{Resource: framework.Node, Action: framework.UpdateTaints}}
	}
	return nil
}

func newQueue() *Queue {
	return New(Config{InitialBackoff: time.Second, MaxBackoff: 10 * time.Second, StuckAfter: 5 * time.Minute}, rules{})
}

func pop(t *testing.T, q *Queue) *framework.QueuedPod {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pod, ok := q.Pop(ctx)
	if !ok {
		t.Fatal("nothing to pop")
	}
	return pod
}

func where(t *testing.T, q *Queue, pod, want string) {
	t.Helper()
	if got, _ := q.Where(schedtest.Pod(pod).Pod().UID); got != want {
		t.Errorf("pod %s is %q, not %q", pod, got, want)
	}
}

func gone(name string) framework.Event {
	return framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: schedtest.Pod(name).Pod()}
}

func nodeAdded() framework.Event {
	return framework.Event{Resource: framework.Node, Action: framework.Add, New: schedtest.Node("n").Node()}
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		for _, p := range []*schedtest.PodBuilder{
			schedtest.Pod("first"), schedtest.Pod("second"), schedtest.Pod("important").Priority(10),
		} {
			q.Add(p.Info())
			time.Sleep(time.Millisecond)
		}
		for _, want := range []string{"important", "first", "second"} {
			if got := pop(t, q).Pod.Name; got != want {
				t.Errorf("popped %s, not %s", got, want)
			}
		}
	})
}

func TestPopWaitsAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan bool)
		go func() {
			_, ok := q.Pop(ctx)
			got <- ok
			_, ok = q.Pop(ctx)
			got <- ok
		}()
		synctest.Wait()
		q.Add(schedtest.Pod("p").Info())
		if !<-got {
			t.Error("nothing popped")
		}
		synctest.Wait()
		cancel()
		if <-got {
			t.Error("popped after the end")
		}
	})
}

func TestRejectedPodWaitsForAnEventThatHelpsItsPlugin(t *testing.T) {
	for _, tt := range []struct {
		name     string
		plugins  []string
		event    framework.Event
		requeued bool
	}{
		{"helps", []string{"fit"}, gone("other"), true},
		{"helps one of two", []string{"taints", "fit"}, gone("other"), true},
		{"the hint says no", []string{"fit"}, gone("useless"), false},
		{"is another plugin's", []string{"taints"}, gone("other"), false},
		{"there was no node", nil, nodeAdded(), true},
		{"there is still no node", nil, gone("other"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				defer q.Close()
				q.Add(schedtest.Pod("p").Info())
				pop(t, q)
				q.Reject("p", tt.plugins, "no")
				where(t, q, "p", "unschedulable")
				time.Sleep(2 * time.Second) // its back-off is over
				q.Happened(tt.event)
				want := "unschedulable"
				if tt.requeued {
					want = "active"
				}
				where(t, q, "p", want)
			})
		})
	}
}

func TestEventWhileInFlightIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		q.Add(schedtest.Pod("early").Info())
		q.Add(schedtest.Pod("p").Info())
		pop(t, q)
		q.Happened(gone("before"))
		pop(t, q)
		q.Reject("p", []string{"fit"}, "no")
		where(t, q, "p", "unschedulable") // what came before it was popped does not count
		q.Happened(gone("after"))
		where(t, q, "p", "backoff")
		q.Reject("early", []string{"fit"}, "no")
		where(t, q, "early", "backoff")
		if len(q.flights.events) != 0 {
			t.Errorf("%d events are kept for nobody", len(q.flights.events))
		}
	})
}

// An event is kept while a pod is in flight that was popped before it, whichever
// pod lands first.
func TestEventsAreKeptForTheOldestPodInFlight(t *testing.T) {
	q := newQueue()
	defer q.Close()
	var pods []*framework.QueuedPod
	for _, name := range []string{"a", "b", "c"} {
		q.Add(schedtest.Pod(name).Info())
		pods = append(pods, pop(t, q))
		q.Happened(gone("node"))
	}
	for _, step := range []struct {
		done, kept int
	}{{1, 3}, {0, 1}, {2, 0}} {
		q.Done(pods[step.done].Pod.UID)
		if n := len(q.flights.events); n != step.kept {
			t.Errorf("%d events are kept once %s is done, want %d", n, pods[step.done].Pod.Name, step.kept)
		}
	}
}

func TestEventsAreNotKeptForACommittedPod(t *testing.T) {
	for _, end := range []struct {
		name string
		call func(q *Queue, pod *framework.QueuedPod)
	}{
		{"error", func(q *Queue, pod *framework.QueuedPod) { q.Retry(pod.Pod.UID, "no binding") }},
		{"rejection", func(q *Queue, pod *framework.QueuedPod) { q.Reject(pod.Pod.UID, []string{"fit"}, "no binding") }},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			defer q.Close()
			q.Add(schedtest.Pod("p").Info())
			pod := pop(t, q)
			q.Happened(gone("useless"))
			q.Committed(pod.Pod.UID)
			q.Happened(gone("useless"))
			if n := len(q.flights.events); n > 0 {
				t.Errorf("%s: %d events are kept", end.name, n)
			}
			end.call(q, pod)
			where(t, q, "p", "backoff")
		})
	}
}

func TestBackoffGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		q.Add(schedtest.Pod("p").Info())
		for _, want := range []int{1, 2, 4, 8, 10, 10} {
			pop(t, q)
			q.Retry("p", "broken")
			began := time.Now()
			pod := pop(t, q) // waits for the back-off
			if got := time.Since(began); got != time.Duration(want)*time.Second {
				t.Errorf("attempt %d came after %v", pod.Attempts, got)
			}
			// put it back as it was: the next round counts the attempt
			q.mu.Lock()
			e, _ := q.land("p")
			e.pod.Attempts--
			q.admit(e)
			q.mu.Unlock()
		}
	})
}

func TestRejectedPodIsPoppedEarlyOnlyIfNothingElseIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		q.Add(schedtest.Pod("rejected").Info())
		q.Add(schedtest.Pod("broken").Info())
		pop(t, q)
		pop(t, q)
		q.Reject("rejected", []string{"fit"}, "no")
		q.Retry("broken", "error")
		q.Happened(nodeAdded())
		where(t, q, "rejected", "backoff")
		q.Add(schedtest.Pod("fresh").Info())
		began := time.Now()
		for _, want := range []string{"fresh", "rejected", "broken"} {
			if got := pop(t, q).Pod.Name; got != want {
				t.Errorf("popped %s, not %s", got, want)
			}
		}
		if time.Since(began) != time.Second {
			t.Errorf("the pod that met an error waited %v", time.Since(began))
		}
	})
}

func TestStuckPodIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		q.Add(schedtest.Pod("p").Info())
		pop(t, q)
		q.Reject("p", []string{"fit"}, "no")
		time.Sleep(5*time.Minute - time.Second)
		where(t, q, "p", "unschedulable")
		time.Sleep(2 * time.Second)
		where(t, q, "p", "active")
	})
}

func TestGatedPodEntersWhenItsGatesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		gates := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }
		q.Add(schedtest.Pod("p").With(gates).Info())
		where(t, q, "p", "gated")
		q.Happened(nodeAdded())
		where(t, q, "p", "gated")
		q.Update(schedtest.Pod("p").Info())
		where(t, q, "p", "active")
	})
}

func TestUpdateThatHelpsRequeues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		q.Add(schedtest.Pod("p").CPU("4").Info())
		pop(t, q)
		q.Reject("p", []string{"fit"}, "no")
		q.Update(schedtest.Pod("p").CPU("4").Label("a", "b").Info())
		where(t, q, "p", "unschedulable")
		q.Update(schedtest.Pod("p").CPU("1").Info())
		where(t, q, "p", "backoff")
		if got := pop(t, q); got.Requests.MilliCPU != 1000 {
			t.Errorf("popped the old version: %d", got.Requests.MilliCPU)
		}
	})
}

func TestDeletedInFlightIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		defer q.Close()
		for _, back := range []func(){
			func() { q.Reject("p", []string{"fit"}, "no") },
			func() { q.Retry("p", "error") },
			func() { q.Done("p") },
		} {
			q.Add(schedtest.Pod("p").Info())
			pop(t, q)
			q.Delete("p")
			back()
			where(t, q, "p", "")
		}
		for part, n := range q.Depths() {
			if n != 0 {
				t.Errorf("%d pods are %s", n, part)
			}
		}
	})
}
