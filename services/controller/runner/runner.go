// Package runner runs reconcilers.
//
// A Reconciler is one method over the key of an object ("namespace/name", or
// "name" for cluster-scoped kinds). It reads what is from informers, compares
// it with what should be, writes what is missing, and says when it wants to be
// called again. It is never told what happened: a key may stand for many
// changes, or for none, so a reconciler must be idempotent.
//
// A Controller owns everything around that: the queue of keys, the workers,
// panics, timeouts, retries with exponential back-off, metrics, the last error
// of each key, and the trace. A package that implements a reconciler has a
// function
//
//	func New(deps runner.Deps) (*runner.Controller, error)
//
// that declares the inputs by runner.Watch: which informers it follows, and
// which keys an object of theirs concerns.
package runner

import (
	"context"
	"errors"
	"time"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
)

// Reconciler brings the object of a key, and what belongs to it, closer to its
// desired state. An error makes the controller call it again after a delay
// that grows with each failure; a Terminal one is only recorded. A key is
// never reconciled twice at the same time.
type Reconciler interface {
	Reconcile(ctx context.Context, key string) (Outcome, error)
}

// Outcome is what a reconcile without an error wants to happen next. The zero
// value is Done.
type Outcome struct {
	after time.Duration
}

// Done waits for the next change.
func Done() Outcome { return Outcome{} }

// RequeueAfter asks for another reconcile when d has passed, whether or not
// anything changes until then. Nothing is asked for if d is not positive.
func RequeueAfter(d time.Duration) Outcome { return Outcome{after: d} }

// After returns how long to wait before the next reconcile; 0 is until the
// next change.
func (o Outcome) After() time.Duration { return max(o.after, 0) }

// Sooner returns the outcome that asks to be called again first.
func (o Outcome) Sooner(other Outcome) Outcome {
	if o.After() == 0 || (other.After() != 0 && other.after < o.after) {
		return other
	}
	return o
}

type terminalError struct{ err error }

func (t terminalError) Error() string { return t.err.Error() }
func (t terminalError) Unwrap() error { return t.err }

// Terminal marks an error that trying again cannot cure, for example an
// invalid spec. The key waits for the next change. Terminal(nil) is nil.
func Terminal(err error) error {
	if err == nil {
		return nil
	}
	return terminalError{err}
}

func isTerminal(err error) bool {
	var t terminalError
	return errors.As(err, &t)
}

// EventRecorder records Kubernetes events about objects.
type EventRecorder interface {
	Event(obj kinds.Object, eventType, reason, message string)
}

// Deps is what every reconciler is made from.
type Deps struct {
	Client    *client.Client
	Informers *client.Informers
	// Kinds are those that are served at the moment, custom ones too.
	Kinds *kinds.Registry
	// Events returns a recorder whose events come from the named component,
	// for example "deployment-controller".
	Events    func(component string) EventRecorder
	Telemetry telemetry.Set
	Metrics   *Metrics
	// Feed is told of every reconcile.
	Feed *Feed
	// Workers is how many keys a controller reconciles at the same time unless
	// its Options say otherwise; 0 is a default.
	Workers int
}
