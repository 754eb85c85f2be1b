package flowcontrol

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

func newController(t testing.TB, cfg Config) (*Controller, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	c, err := New(cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	return c, reg
}

// about is a request for pods.
func about(user, verb string, groups ...string) *access.Attributes {
	return &access.Attributes{
		User: identity.Identity{Name: user, Groups: append(groups, identity.GroupAuthenticated)},
		Verb: verb, Version: "v1", Resource: "pods", Namespace: "default",
	}
}

// enter is what callers do.
func enter(ctx context.Context, f *Flow, a *access.Attributes) (Seat, error) {
	if seat, ok := f.Try(); ok {
		return seat, nil
	}
	return f.Wait(ctx, a)
}

// schemaFor sends all requests of a user to a level.
func schemaFor(name, user, level string, precedence int32) *flowcontrolv1.FlowSchema {
	s := flowdefaults.MandatorySchemas()[1]
	s.ObjectMeta = metav1.ObjectMeta{Name: name}
	s.Spec.MatchingPrecedence, s.Spec.PriorityLevelConfiguration.Name = precedence, level
	s.Spec.Rules[0].Subjects = []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: user}}}
	return s
}

// levelOf is a level that refuses what finds no seat, or queues it in one queue,
// and borrows nothing.
func levelOf(name string, shares, queueLength int32) *flowcontrolv1.PriorityLevelConfiguration {
	l := flowdefaults.MandatoryLevels()[1]
	l.ObjectMeta = metav1.ObjectMeta{Name: name}
	l.Spec.Limited.NominalConcurrencyShares = &shares
	l.Spec.Limited.BorrowingLimitPercent = ptr.To[int32](0)
	if queueLength > 0 {
		l.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{
			Type:    flowcontrolv1.LimitResponseTypeQueue,
			Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 1, HandSize: 1, QueueLengthLimit: queueLength},
		}
	}
	return l
}

func TestClassify(t *testing.T) {
	c, _ := newController(t, DefaultConfig())
	levels := append(flowdefaults.Levels(), levelOf("mine", 10, 0))
	schemas := append(flowdefaults.Schemas(),
		schemaFor("b", "jane", "mine", 700), schemaFor("a", "jane", "mine", 700), schemaFor("dangling", "jane", "none", 3), schemaFor("late", "jane", "mine", 701),
		schemaFor("last", "jim", "mine", 10000))
	lease := about(identity.Controller, "update")
	lease.Group, lease.Resource = "coordination.k8s.io", "leases"
	nodeLease := about("system:node:n", "update", identity.GroupNodes)
	nodeLease.Group, nodeLease.Resource = "coordination.k8s.io", "leases"
	health := &access.Attributes{User: identity.FromContext(context.Background()), Verb: "get", Path: "/livez"}
	for _, tc := range []struct {
		request       *access.Attributes
		schema, level string
	}{
		{about("root", "create", identity.GroupMasters), "exempt", "exempt"},
		{health, "probes", "exempt"},
		{lease, "system-leader-election", "leader-election"},
		{nodeLease, "system-node-high", "node-high"},
		{about("system:node:n", "list", identity.GroupNodes), "system-nodes", "system"},
		{about(identity.Gateway, "watch"), "navarch-services", "system"},
		{about(identity.Proxy, "watch"), "navarch-services", "system"},
		{about(identity.Controller, "list"), "kube-controller-manager", "workload-high"},
		{about(identity.Scheduler, "list"), "kube-scheduler", "workload-high"},
		{about("system:serviceaccount:kube-system:dns", "list", "system:serviceaccounts"), "kube-system-service-accounts", "workload-high"},
		{about("system:serviceaccount:default:a", "list", "system:serviceaccounts"), "service-accounts", "workload-low"},
		{about("joe", "list"), "global-default", "global-default"},
		{about("jane", "list"), "a", "mine"},
		{&access.Attributes{User: identity.Identity{Name: "nobody's"}, Verb: "get", Path: "/version"}, "catch-all", "catch-all"},
	} {
		if f := c.Classify(tc.request); f.name != "exempt" && f.name != "catch-all" {
			t.Errorf("%s is of %s before there is any", tc.request.User.Name, f.name)
		}
		c.Configure(levels, schemas)
		if f := c.Classify(tc.request); f.name != tc.schema || f.level.name != tc.level {
			t.Errorf("%s %s %s: of %s in %s, want %s in %s", tc.request.User.Name, tc.request.Verb, tc.request.Path, f.name, f.level.name, tc.schema, tc.level)
		}
		c.Configure(nil, nil)
	}
}

// Objects that older rules allowed, or that have been lost, cannot leave requests
// without a level.
func TestMandatoryObjects(t *testing.T) {
	c, _ := newController(t, DefaultConfig())
	c.Configure(
		[]*flowcontrolv1.PriorityLevelConfiguration{levelOf("exempt", 1, 0), levelOf("catch-all", 0, 1), {ObjectMeta: metav1.ObjectMeta{Name: "broken"}}},
		[]*flowcontrolv1.FlowSchema{schemaFor("catch-all", "joe", "none", 10000), schemaFor("exempt", "joe", "catch-all", 1), schemaFor("broken", "joe", "broken", 2)})
	if f := c.Classify(about("root", "get", identity.GroupMasters)); f.name != "exempt" || !f.level.limits.Exempt {
		t.Errorf("a master is of %s in %s", f.name, f.level.name)
	}
	if f := c.Classify(about("joe", "get")); f.name != "catch-all" || f.level.seats.Limit() != 600 {
		t.Errorf("joe is of %s, with %d seats, want the 600 of catch-all", f.name, f.level.seats.Limit())
	}
}

// gauge returns a metric of a level.
func gauge(t *testing.T, reg *prometheus.Registry, name, level string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == name && l.GetName() == labelLevel && l.GetValue() == level {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, level)
	return 0
}

func TestEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, reg := newController(t, Config{Enabled: true, MaxRequests: 10})
		c.Configure(append(flowdefaults.Levels(), levelOf("refuses", 1, 0), levelOf("queues", 1, 1)),
			append(flowdefaults.Schemas(), schemaFor("refuses", "jane", "refuses", 700), schemaFor("queues", "joe", "queues", 700)))
		ask := func(user string) (Seat, error) {
			a := about(user, "get")
			return enter(t.Context(), c.Classify(a), a)
		}
		seat, err := ask("jane")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ask("jane"); !apierrors.IsTooManyRequests(err) {
			t.Errorf("without a seat: %v", err)
		} else if after, ok := apierrors.SuggestsClientDelay(err); !ok || after != 1 {
			t.Errorf("it may be tried again after %d s, %v", after, ok)
		}
		first, err := ask("joe")
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan error)
		go func() {
			_, err := ask("joe")
			second <- err
		}()
		synctest.Wait()
		if n := gauge(t, reg, "apiserver_flowcontrol_current_inqueue_requests", "queues"); n != 1 {
			t.Errorf("%v requests wait, want 1", n)
		}
		if err := <-second; !apierrors.IsTooManyRequests(err) { // after its patience
			t.Errorf("whose turn did not come: %v", err)
		}
		seat.Release()
		first.Release()
		first.Release()
		if seat, err = ask("jane"); err != nil {
			t.Errorf("after one was given back: %v", err)
		}
		seat.Release()
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			verb        string
			limit, want time.Duration
		}{
			{"get", 0, 15 * time.Second}, {"get", time.Minute, 15 * time.Second}, {"get", 2 * time.Second, 500 * time.Millisecond},
			{"get", time.Hour, time.Minute}, {"watch", time.Hour, 15 * time.Second},
		} {
			ctx := t.Context()
			if tc.limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tc.limit)
				defer cancel()
			}
			if got := patienceOf(ctx, about("jane", tc.verb)); got != tc.want {
				t.Errorf("a %s with %s waits for %s, want %s", tc.verb, tc.limit, got, tc.want)
			}
		}
	})
}

// Levels that are not busy lend to one that is, and get theirs back.
func TestBorrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newController(t, DefaultConfig())
		c.Configure(flowdefaults.Levels(), flowdefaults.Schemas())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		a := about("jane", "get")
		limit := func() int64 { return c.Classify(a).level.seats.Limit() }
		for range 500 {
			go func() {
				if seat, err := enter(ctx, c.Classify(a), a); err == nil {
					<-ctx.Done()
					seat.Release()
				}
			}()
		}
		synctest.Wait()
		before := limit()
		time.Sleep(adjustmentPeriod + time.Second)
		if after := limit(); before > 100 || after < 200 {
			t.Errorf("the level had %d seats of nominally 49, and has %d with everything that nobody else wants", before, after)
		}
		cancel()
		synctest.Wait()
	})
}

func TestLimitsWithoutPriorities(t *testing.T) {
	c, _ := newController(t, Config{MaxRequests: 1, MaxMutating: 1})
	c.Configure(flowdefaults.Levels(), flowdefaults.Schemas())
	for _, verb := range []string{"get", "create"} {
		a := about("jane", verb)
		seat, err := enter(t.Context(), c.Classify(a), a)
		if err != nil {
			t.Fatal(err)
		}
		defer seat.Release()
	}
	for _, verb := range []string{"list", "patch"} {
		a := about("jane", verb)
		if _, err := enter(t.Context(), c.Classify(a), a); !apierrors.IsTooManyRequests(err) {
			t.Errorf("%s: %v", verb, err)
		}
		if c.Classify(about("root", verb, identity.GroupMasters)) != nil {
			t.Errorf("%s by a master is limited", verb)
		}
	}
	unlimited, _ := newController(t, Config{})
	if unlimited.Classify(about("jane", "get")) != nil || unlimited.Classify(about("jane", "create")) != nil {
		t.Error("a limit of 0 is one")
	}
}

func TestRetryAfter(t *testing.T) {
	// Each step refuses so many in each of so many seconds, and sees what the next
	// one is told.
	type step struct{ seconds, each, want int }
	for name, steps := range map[string][]step{
		"a few":              {{1, 2, 1}, {10, 1, 1}},
		"it doubles":         {{1, 3, 2}, {2, 3, 4}, {4, 3, 8}},
		"up to a limit":      {{1000, 1000, 32}},
		"it shrinks by ones": {{1, 3, 2}, {2, 3, 4}, {10, 0, 3}, {10, 0, 2}, {10, 0, 1}, {10, 0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var d drops
			now := time.Unix(1_800_000_000, 0)
			for i, s := range steps {
				for range s.seconds {
					for range s.each {
						d.another(now)
					}
					now = now.Add(time.Second)
				}
				if got := d.another(now); got != s.want {
					t.Fatalf("after step %d clients are told to wait for %d s, want %d", i, got, s.want)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{DefaultConfig(), ""}, {Config{}, ""},
		{Config{Enabled: true}, "must not both be 0"},
		{Config{MaxRequests: -1}, "--max-requests-inflight -1 must not be negative"},
		{Config{MaxMutating: -1}, "--max-mutating-requests-inflight -1 must not be negative"},
	} {
		err := tc.cfg.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.cfg, err, tc.want)
		}
	}
}

// BenchmarkRequest is what a request costs that has not to wait, classified by
// the default objects: last of all.
func BenchmarkRequest(b *testing.B) {
	c, _ := newController(b, DefaultConfig())
	c.Configure(flowdefaults.Levels(), flowdefaults.Schemas())
	for name, a := range map[string]*access.Attributes{
		"master": about("root", "get", identity.GroupMasters), "user": about("jane", "get", "staff", "testers"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					seat, err := enter(context.Background(), c.Classify(a), a)
					if err != nil {
						b.Error(err)
					}
					seat.Release()
				}
			})
		})
	}
}
