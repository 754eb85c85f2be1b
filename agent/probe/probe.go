// Package probe asks containers how they are: by a command in them, an HTTP
// or gRPC request, or a TCP connection.
//
// Watch follows one container from its start to its end and reports what its
// probes find: that it has started, whether it is ready, and that it is dead.
// Until its startup probe has succeeded, the others do not run. Each probe has
// one goroutine that sleeps on a timer in between.
package probe

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind is what a probe decides.
type Kind string

const (
	// Startup says that the container has started.
	Startup Kind = "Startup"
	// Liveness says that it must be restarted.
	Liveness Kind = "Liveness"
	// Readiness says whether it may get traffic.
	Readiness Kind = "Readiness"
)

// Result is what a probe decided, after its thresholds.
type Result struct {
	Kind    Kind
	Success bool
	// Probe is the probe, for its own termination grace period.
	Probe *corev1.Probe
	// Message is the last output, for people.
	Message string
}

// Verdict is what a single check found.
type Verdict int

const (
	// Failed is no answer, or a bad one.
	Failed Verdict = iota
	// Succeeded is a good answer.
	Succeeded
	// Warned counts as a good answer, of which its pod is told.
	Warned
)

// Checker runs one probe once. It is told the time limit by ctx.
type Checker interface {
	Check(ctx context.Context, probe *corev1.Probe) (found Verdict, output string)
}

// Reporter is told what probes find. Its functions must not block.
type Reporter struct {
	// Decided is called each time that a probe's decision changes, and for
	// liveness and startup each time that the failure threshold is reached.
	Decided func(Result)
	// Checked is called for each single check with the time that it took.
	Checked func(kind Kind, ok bool, took time.Duration)
	// Failed is called for each single failure, Warned for each warning.
	Failed, Warned func(kind Kind, output string)
}

// Watch runs a container's probes until ctx ends. started is when it was
// started; startedUp says that its startup probe has succeeded before, under
// an earlier agent.
func Watch(ctx context.Context, c *corev1.Container, started time.Time, startedUp bool, check Checker, report Reporter) {
	if c.StartupProbe != nil && !startedUp {
		p := newLoop(Startup, c.StartupProbe, started, check, report)
		if !p.until(ctx, true) {
			return
		}
	}
	var wg sync.WaitGroup
	if c.LivenessProbe != nil {
		wg.Go(func() { newLoop(Liveness, c.LivenessProbe, started, check, report).until(ctx, false) })
	}
	if c.ReadinessProbe != nil {
		wg.Go(func() { newLoop(Readiness, c.ReadinessProbe, started, check, report).until(ctx, false) })
	}
	wg.Wait()
}

// loop is one probe's state.
type loop struct {
	kind   Kind
	probe  *corev1.Probe
	first  time.Time
	check  Checker
	report Reporter

	run     int // how many results of one sort came in a row
	last    bool
	decided *bool // what was reported last
}

func newLoop(kind Kind, p *corev1.Probe, started time.Time, check Checker, report Reporter) *loop {
	return &loop{
		kind: kind, probe: p, check: check, report: report,
		first: started.Add(time.Duration(p.InitialDelaySeconds) * time.Second),
	}
}

// until probes until ctx ends or, if onlySuccess, until the probe's first
// success, which it returns.
func (l *loop) until(ctx context.Context, onlySuccess bool) bool {
	delay := max(0, time.Until(l.first))
	if l.kind == Liveness && delay == 0 {
		// There is no hurry, and many containers may start at once.
		delay = rand.N(l.period())
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		begun := time.Now()
		l.once(ctx)
		if onlySuccess && l.decided != nil && *l.decided {
			return true
		}
		timer.Reset(max(0, l.next(begun)))
	}
}

// next returns how long to wait. Until a container is ready for the first time
// its readiness is asked for more often at first, so that a quick start is
// noticed quickly: after 0.1 s, 0.2 s, 0.4 s … up to the period.
func (l *loop) next(begun time.Time) time.Duration {
	period := l.period()
	if l.kind != Liveness && (l.decided == nil || !*l.decided) && l.probe.InitialDelaySeconds == 0 && !l.last {
		if l.run < 16 {
			period = min(period, 100*time.Millisecond<<max(0, l.run-1))
		}
	}
	return period - time.Since(begun)
}

func (l *loop) period() time.Duration { return seconds(l.probe.PeriodSeconds, 10) }

// once probes once and reports.
func (l *loop) once(ctx context.Context) {
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, seconds(l.probe.TimeoutSeconds, 1))
	found, output := l.check.Check(limited, l.probe)
	cancel()
	if ctx.Err() != nil {
		return
	}
	ok := found != Failed
	l.report.Checked(l.kind, ok, time.Since(begun))
	switch found {
	case Failed:
		l.report.Failed(l.kind, output)
	case Warned:
		l.report.Warned(l.kind, output)
	}
	if ok == l.last && l.run > 0 {
		l.run++
	} else {
		l.last, l.run = ok, 1
	}
	if l.run < l.threshold(ok) {
		return
	}
	changed := l.decided == nil || *l.decided != ok
	if changed || !ok && l.kind != Readiness {
		l.decided = &ok
		l.report.Decided(Result{Kind: l.kind, Success: ok, Probe: l.probe, Message: output})
	}
	if !ok && l.kind != Readiness {
		l.run = 0 // the container is being restarted
	}
}

func (l *loop) threshold(ok bool) int {
	if ok {
		return int(max(1, l.probe.SuccessThreshold))
	}
	if l.probe.FailureThreshold > 0 {
		return int(l.probe.FailureThreshold)
	}
	return 3
}

func seconds(n, otherwise int32) time.Duration {
	if n <= 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}
