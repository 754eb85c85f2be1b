package cronjob

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// schedule says when a CronJob's jobs start.
type schedule struct {
	cron cron.Schedule
	// begin is the time that no run may lie before, and intervals count from.
	begin time.Time
	zone  *time.Location
}

// scheduleOf reads a CronJob's schedule. Runs are looked for after the last one,
// or after the CronJob's creation.
func scheduleOf(c *batchv1.CronJob) (schedule, error) {
	zone := time.Local
	if c.Spec.TimeZone != nil {
		var err error
		if zone, err = time.LoadLocation(*c.Spec.TimeZone); err != nil {
			return schedule{}, zoneError{fmt.Errorf("read the time zone: %w", err)}
		}
	}
	parsed, err := cron.ParseStandard(c.Spec.Schedule)
	if err != nil {
		return schedule{}, fmt.Errorf("read the schedule %q: %w", c.Spec.Schedule, err)
	}
	begin := c.CreationTimestamp.Time
	if last := c.Status.LastScheduleTime; last != nil {
		begin = last.Time
	}
	return schedule{cron: parsed, begin: begin.In(zone), zone: zone}, nil
}

// statedZone is the time zone that a CronJob states, UTC if it states none that is
// known.
func statedZone(c *batchv1.CronJob) *time.Location {
	if c.Spec.TimeZone != nil {
		if zone, err := time.LoadLocation(*c.Spec.TimeZone); err == nil {
			return zone
		}
	}
	return time.UTC
}

// zoneError tells a time zone that is not known from a schedule that is wrong.
type zoneError struct{ error }

func (e zoneError) Unwrap() error { return e.error }

// latest returns the last time after begin that is not after now, zero if there
// is none. What lies further back has been missed.
func (s schedule) latest(now time.Time) time.Time {
	if every, ok := s.cron.(cron.ConstantDelaySchedule); ok {
		since := now.Sub(s.begin)
		if since < every.Delay {
			return time.Time{}
		}
		return s.begin.Add(since - since%every.Delay)
	}
	// A schedule can only be asked for the time after another. After a year's
	// downtime there may be half a million of these, so the search begins near
	// now and goes back in steps that double.
	for back := time.Minute; ; back *= 2 {
		from := now.Add(-back).In(s.zone)
		if from.Before(s.begin) {
			from = s.begin
		}
		if t := s.lastBetween(from, now); !t.IsZero() || !from.After(s.begin) {
			return t
		}
	}
}

func (s schedule) lastBetween(from, now time.Time) time.Time {
	var last time.Time
	for t := s.cron.Next(from); !t.IsZero() && !t.After(now); t = s.cron.Next(t) {
		last = t
	}
	return last
}

// missed is about how many runs lie between the last one and now, those left out that
// are past the deadline to start them, in seconds.
func (s schedule) missed(now time.Time, deadline *int64) int64 {
	from := s.begin
	if deadline != nil {
		if earliest := now.Add(-time.Duration(*deadline) * time.Second); earliest.After(from) {
			from = earliest.In(s.zone)
		}
	}
	first := s.cron.Next(from)
	interval := s.cron.Next(first).Sub(first)
	if first.IsZero() || first.After(now) || interval <= 0 {
		return 0
	}
	return int64(now.Sub(first)/interval) + 1
}

// next returns the first time after now, zero if the schedule has none.
func (s schedule) next(now time.Time) time.Time {
	every, ok := s.cron.(cron.ConstantDelaySchedule)
	if !ok {
		return s.cron.Next(now.In(s.zone))
	}
	if now.Before(s.begin) {
		return s.begin.Add(every.Delay)
	}
	since := now.Sub(s.begin)
	return s.begin.Add(since - since%every.Delay + every.Delay)
}
