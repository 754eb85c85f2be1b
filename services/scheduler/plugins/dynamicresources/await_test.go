package dynamicresources

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// says has the device's driver set conditions to true.
func (c *claims) says(claim string, conditions ...string) {
	status := resourcev1.AllocatedDeviceStatus{Driver: "d.com", Pool: "n1", Device: "d"}
	for _, name := range conditions {
		status.Conditions = append(status.Conditions, metav1.Condition{Type: name, Status: metav1.ConditionTrue, Reason: "Said", Message: "so it is"})
	}
	now := c.stored[claim].DeepCopy()
	now.Status.Devices = []resourcev1.AllocatedDeviceStatus{status}
	if err := c.UpdateStatus(context.Background(), now); err != nil {
		panic(err)
	}
	c.catchUp()
}

// TestBindingConditions: the pod's device is ready once it is Attached and
// Powered, and lost once it is Broken.
func TestBindingConditions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		happens func(c *claims, pod *snapshot.PodInfo)
		want    string // of the error; "" is none
	}{
		{"ready", func(c *claims, _ *snapshot.PodInfo) { c.says("a", "Attached", "Powered") }, ""},
		{"ready, step by step", func(c *claims, _ *snapshot.PodInfo) {
			c.says("a", "Attached")
			synctest.Wait()
			c.says("a", "Attached", "Powered")
		}, ""},
		{"half ready", func(c *claims, _ *snapshot.PodInfo) { c.says("a", "Attached") }, "device binding timeout: claim=a"},
		{"nothing is said", func(*claims, *snapshot.PodInfo) {}, "device binding timeout: claim=a"},
		{"failed", func(c *claims, _ *snapshot.PodInfo) { c.says("a", "Attached", "Powered", "Broken") }, `device binding failed: claim=a, reason=Said, message="so it is"`},
		{"the pod is gone", func(c *claims, pod *snapshot.PodInfo) {
			c.gone[pod.Pod.UID] = true
			c.wake()
		}, "pod does not exist any more"},
		{"the claim has lost its device", func(c *claims, _ *snapshot.PodInfo) {
			c.stored["a"].Status = resourcev1.ResourceClaimStatus{}
			c.stored["a"].ResourceVersion = "9"
			c.catchUp()
		}, "the claim a has lost its devices meanwhile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClaims("a")
				c.conditions, c.failures = []string{"Attached", "Powered"}, []string{"Broken"}
				told := ""
				p := New(DefaultArgs(), c, NewLedger(), func(_ *corev1.Pod, _, reason, message string) { told = reason + ": " + message })
				pod := podWith("p", "a")
				state, _ := nodesFor(t, p, pod)
				if s := p.Reserve(t.Context(), state, pod, "n1"); !s.Success() {
					t.Fatal(s)
				}
				var status *framework.Status
				done := make(chan struct{})
				go func() {
					defer close(done)
					status = p.PreBind(t.Context(), state, pod, "n1")
				}()
				synctest.Wait()
				expect(t, "event", told, "BindingConditionsPending: waiting for binding conditions for device on node n1")
				tt.happens(c, pod)
				<-done
				if tt.want == "" {
					if !status.Success() || c.stored["a"].Status.Allocation == nil {
						t.Errorf("%v %+v", status, c.stored["a"].Status)
					}
					return
				}
				if status.Code() != framework.Error || !strings.Contains(status.Message(), tt.want) {
					t.Errorf("%v, not %s", status, tt.want)
				}
				p.Unreserve(t.Context(), state, pod, "n1")
				if s := c.stored["a"].Status; s.Allocation != nil || len(s.ReservedFor)+len(s.Devices) > 0 {
					t.Errorf("the claim keeps %+v", s)
				}
			})
		})
	}
}

// A claim that an earlier Scheduler allocated has as long as it had then.
func TestBindingTimeoutCountsFromTheAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClaims("a")
		c.conditions = []string{"Attached"}
		pod := podWith("p", "a")
		bind := func() (*Plugin, *framework.CycleState, chan *framework.Status) {
			p := newPlugin(c, NewLedger())
			state, _ := nodesFor(t, p, pod)
			if s := p.Reserve(t.Context(), state, pod, "n1"); !s.Success() {
				t.Fatal(s)
			}
			done := make(chan *framework.Status, 1)
			go func() { done <- p.PreBind(t.Context(), state, pod, "n1") }()
			synctest.Wait()
			return p, state, done
		}
		_, _, first := bind()
		c.catchUp()
		time.Sleep(9 * time.Minute)
		start := time.Now()
		_, _, second := bind()
		if s := <-second; !strings.Contains(s.Message(), "device binding timeout") {
			t.Error(s)
		}
		if waited := time.Since(start); waited > 61*time.Second {
			t.Errorf("the second waited for %v", waited)
		}
		<-first
	})
}

// What a Scheduler has written when it stops the next one goes on with.
func TestStoppedWhileDevicesAreBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClaims("a")
		c.conditions = []string{"Attached"}
		pod := podWith("p", "a")
		ctx, stop := context.WithCancel(t.Context())
		first := newPlugin(c, NewLedger())
		state, _ := nodesFor(t, first, pod)
		first.Reserve(ctx, state, pod, "n1")
		done := make(chan *framework.Status, 1)
		go func() { done <- first.PreBind(ctx, state, pod, "n1") }()
		synctest.Wait()
		stop()
		if s := <-done; s.Success() {
			t.Error("the pod can be bound")
		}
		first.Unreserve(ctx, state, pod, "n1")
		c.says("a", "Attached")
		second := newPlugin(c, NewLedger())
		state, nodes := nodesFor(t, second, pod)
		expect(t, "nodes", nodes, "n1")
		for _, s := range []*framework.Status{second.Reserve(t.Context(), state, pod, "n1"), second.PreBind(t.Context(), state, pod, "n1")} {
			if !s.Success() {
				t.Error(s)
			}
		}
	})
}

// TestPostFilter: claim a has the device of n1, and n1 cannot be had.
func TestPostFilter(t *testing.T) {
	allocate := func(c *claims, change func(*resourcev1.ResourceClaimStatus)) {
		p, pod := newPlugin(c, NewLedger()), podWith("p", "a")
		state, _ := nodesFor(t, p, pod)
		p.Reserve(t.Context(), state, pod, "n1")
		if err := p.bind(t.Context(), pod.Pod, c.stored["a"], p.held.Get(state).allocations[0]); err != nil {
			t.Fatal(err)
		}
		change(&c.stored["a"].Status)
		c.catchUp()
	}
	for _, tt := range []struct {
		name   string
		change func(*resourcev1.ResourceClaimStatus)
		nodes  string // that the pod can go to
		given  bool   // up
	}{
		{"the pod's own", func(*resourcev1.ResourceClaimStatus) {}, "n1", true},
		{"nobody's", func(s *resourcev1.ResourceClaimStatus) { s.ReservedFor = nil }, "n1", true},
		{"another pod's too", func(s *resourcev1.ResourceClaimStatus) {
			s.ReservedFor = append(s.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "q", UID: "q"})
		}, "n1", false},
		{"too late to be ready", func(s *resourcev1.ResourceClaimStatus) {
			s.Allocation.AllocationTimestamp = &metav1.Time{}
			s.Allocation.Devices.Results[0].BindingConditions = []string{"Attached"}
		}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClaims("a")
			allocate(c, tt.change)
			p, pod := newPlugin(c, NewLedger()), podWith("p", "a")
			state, nodes := nodesFor(t, p, pod)
			expect(t, "nodes", nodes, tt.nodes)
			_, s := p.PostFilter(t.Context(), nil, state, pod, nil, nil)
			if given := s.Message() == ReasonDeallocated; !s.Rejected() || given != tt.given {
				t.Errorf("%v %q", s.Code(), s.Message())
			}
			if left := c.stored["a"].Status.Allocation != nil; left == tt.given {
				t.Errorf("allocated: %v", left)
			}
			// What was given up can be had again at once.
			if _, nodes = nodesFor(t, p, podWith("p", "a")); tt.given && nodes != "n1n2" {
				t.Errorf("nodes afterwards: %q", nodes)
			}
		})
	}
}

// TestScore: n1 has what the request prefers, n2 its second choice.
func TestScore(t *testing.T) {
	c := newClaims("a")
	selector := func(pool string) []resourcev1.DeviceSelector {
		return []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "` + pool + `"`}}}
	}
	sub := func(name, driver string) resourcev1.DeviceSubRequest {
		return resourcev1.DeviceSubRequest{Name: name, DeviceClassName: "any", Count: 1, Selectors: selector(driver)}
	}
	c.shown["a"].Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "r", FirstAvailable: []resourcev1.DeviceSubRequest{sub("best", "other.com"), sub("good", "d.com")}}}
	p, pod := newPlugin(c, NewLedger()), podWith("p", "a")
	state, nodes := nodesFor(t, p, pod)
	expect(t, "nodes", nodes, "n1n2")
	if s := p.PreScore(t.Context(), state, pod, nil, snapshot.Selection{}); !s.Success() {
		t.Fatal(s)
	}
	claims := p.claims.Get(state)
	claims.found["n1"].allocations[0].Devices.Results[0].Request = "r/best"
	scores := make([]int64, 2)
	for i, n := range claims.nodes.Nodes() {
		scores[i], _ = p.Score(t.Context(), state, pod, n)
	}
	p.NormalizeScore(t.Context(), state, pod, scores)
	if scores[0] != framework.MaxScore || scores[1] != 87 {
		t.Errorf("%v", scores)
	}
	plain := podWith("q", "b")
	c.shown["b"] = newClaims("b").shown["b"]
	state, _ = nodesFor(t, p, plain)
	if s := p.PreScore(t.Context(), state, plain, nil, snapshot.Selection{}); s.Code() != framework.Skip {
		t.Error(s)
	}
}
