package runner_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller/runner"
)

// script answers the calls for a key one after the other, then with Done.
type script struct {
	mu    sync.Mutex
	steps []func(ctx context.Context) (runner.Outcome, error)
	calls []time.Time
}

func (s *script) Reconcile(ctx context.Context, _ string) (runner.Outcome, error) {
	s.mu.Lock()
	s.calls = append(s.calls, time.Now())
	step := func(context.Context) (runner.Outcome, error) { return runner.Done(), nil }
	if len(s.steps) > 0 {
		step, s.steps = s.steps[0], s.steps[1:]
	}
	s.mu.Unlock()
	return step(ctx)
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// run starts a controller of the script inside a bubble of fake time.
func run(t *testing.T, s *script, test func(t *testing.T, c *runner.Controller, feed *runner.Feed)) {
	synctest.Test(t, func(t *testing.T) {
		tel := telemetry.Discard("controller")
		metrics, err := runner.NewMetrics(tel.Metrics)
		if err != nil {
			t.Fatal(err)
		}
		feed := runner.NewFeed()
		c := runner.New("test", s, runner.Deps{Telemetry: tel, Metrics: metrics, Feed: feed}, runner.Options{Timeout: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { c.Run(ctx) })
		test(t, c, feed)
		cancel()
		wg.Wait()
	})
}

func fail(err error) func(context.Context) (runner.Outcome, error) {
	return func(context.Context) (runner.Outcome, error) { return runner.Done(), err }
}

func TestErrorsBackOffAndAreShown(t *testing.T) {
	s := &script{}
	for range 5 {
		s.steps = append(s.steps, fail(errors.New("no luck")))
	}
	run(t, s, func(t *testing.T, c *runner.Controller, _ *runner.Feed) {
		c.Enqueue("ns/a")
		synctest.Wait()
		if f := c.Status().Failing; len(f) != 1 || f[0].Key != "ns/a" || f[0].Message != "no luck" || f[0].Attempts != 1 {
			t.Fatalf("failing: %+v", f)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.count() != 6 {
			t.Fatalf("%d calls", s.count())
		}
		for i := 2; i < len(s.calls); i++ {
			if s.calls[i].Sub(s.calls[i-1]) <= s.calls[i-1].Sub(s.calls[i-2]) {
				t.Errorf("the delay before call %d did not grow", i)
			}
		}
		if st := c.Status(); len(st.Failing) != 0 || st.Reconciles != 6 || st.Errors != 5 {
			t.Errorf("status after success: %+v", st)
		}
	})
}

func TestTerminalErrorsWaitForAChange(t *testing.T) {
	s := &script{steps: []func(context.Context) (runner.Outcome, error){fail(runner.Terminal(errors.New("invalid")))}}
	run(t, s, func(t *testing.T, c *runner.Controller, _ *runner.Feed) {
		c.Enqueue("a")
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.count() != 1 || len(c.Status().Failing) != 1 {
			t.Fatalf("%d calls, failing %+v", s.count(), c.Status().Failing)
		}
		c.Enqueue("a")
		synctest.Wait()
		if s.count() != 2 || len(c.Status().Failing) != 0 {
			t.Errorf("after a change: %d calls, failing %+v", s.count(), c.Status().Failing)
		}
	})
}

func TestRequeueAfter(t *testing.T) {
	s := &script{steps: []func(context.Context) (runner.Outcome, error){
		func(context.Context) (runner.Outcome, error) { return runner.RequeueAfter(time.Hour), nil },
	}}
	run(t, s, func(t *testing.T, c *runner.Controller, _ *runner.Feed) {
		c.Enqueue("a")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if s.count() != 2 || s.calls[1].Sub(s.calls[0]) != time.Hour {
			t.Errorf("calls at %v", s.calls)
		}
	})
}

func TestPanicsAndTimeoutsAreErrors(t *testing.T) {
	s := &script{steps: []func(context.Context) (runner.Outcome, error){
		func(context.Context) (runner.Outcome, error) { panic("oops") },
		func(ctx context.Context) (runner.Outcome, error) { <-ctx.Done(); return runner.Done(), ctx.Err() },
	}}
	run(t, s, func(t *testing.T, c *runner.Controller, feed *runner.Feed) {
		reconciles, cancel := feed.Subscribe()
		defer cancel()
		c.Enqueue("a")
		for i, want := range []string{"panic: oops", "reconcile took more than 1m0s: context deadline exceeded", ""} {
			got := ""
			if r := <-reconciles; r.Err != nil {
				got = r.Err.Error()
			}
			if got != want {
				t.Errorf("call %d: %q, want %q", i, got, want)
			}
		}
	})
}

func TestSlowSubscriberIsCutOff(t *testing.T) {
	s := &script{}
	run(t, s, func(t *testing.T, c *runner.Controller, feed *runner.Feed) {
		slow, cancel := feed.Subscribe()
		defer cancel()
		for range 1000 {
			c.Enqueue("a")
			synctest.Wait()
		}
		n := 0
		for range slow {
			n++
		}
		if n == 0 || n >= 1000 {
			t.Errorf("a subscriber that never read got %d of 1000", n)
		}
	})
}

func TestSooner(t *testing.T) {
	done, short, long := runner.Done(), runner.RequeueAfter(1), runner.RequeueAfter(2)
	for _, tt := range []struct{ a, b, want runner.Outcome }{
		{done, done, done}, {done, long, long}, {long, done, long}, {short, long, short}, {long, short, short},
	} {
		if got := tt.a.Sooner(tt.b); got != tt.want {
			t.Errorf("%v or %v: %v", tt.a, tt.b, got)
		}
	}
}
