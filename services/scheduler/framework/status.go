package framework

import (
	"slices"
	"strings"
)

// Code is a plugin's verdict. The set is closed: each code says what becomes
// of the pod.
type Code int

const (
	// Success: go on. A nil *Status is a Success.
	Success Code = iota
	// Error: something is broken. The attempt ends and the pod is tried again
	// after its back-off, whatever happens in the cluster.
	Error
	// Unschedulable: not now and not here, but taking other pods away might
	// help. If no node is left, PostFilter plugins are asked; the pod then
	// waits for an event that helps the plugin that said so.
	Unschedulable
	// UnschedulableAndUnresolvable is Unschedulable where taking other pods
	// away would not help, so preemption leaves the node alone.
	UnschedulableAndUnresolvable
	// Wait: only from Permit. The pod keeps its place on the node and its
	// binding waits until it is allowed, rejected, or out of time.
	Wait
	// Skip: the plugin has no part in this attempt. From PreFilter and
	// PreScore it leaves out the plugin's Filter and Score, from Bind it hands
	// the pod to the next binder.
	Skip
)

// String names the code.
func (c Code) String() string {
	return [...]string{"Success", "Error", "Unschedulable", "UnschedulableAndUnresolvable", "Wait", "Skip"}[c]
}

// Status is a verdict and its reasons. The nil Status is Success.
type Status struct { //nolint:errname // it is what plugins answer, and only sometimes an error {
	code    Code
	reasons []string
	err     error
	plugin  string
}

// NewStatus returns a verdict. Reasons are what users read after the number of
// nodes: "Insufficient cpu".
func NewStatus(code Code, reasons ...string) *Status {
	if code == Skip && len(reasons) == 0 {
		return skipped
	}
	return &Status{code: code, reasons: reasons}
}

// skipped is what most plugins say of most pods.
var skipped = &Status{code: Skip}

// AsStatus makes an Error of err, and Success of nil.
func AsStatus(err error) *Status {
	if err == nil {
		return nil
	}
	return &Status{code: Error, reasons: []string{err.Error()}, err: err}
}

// Code returns the verdict.
func (s *Status) Code() Code {
	if s == nil {
		return Success
	}
	return s.code
}

// Reasons returns why.
func (s *Status) Reasons() []string {
	if s == nil {
		return nil
	}
	return s.reasons
}

// Message is the reasons as one line.
func (s *Status) Message() string { return strings.Join(s.Reasons(), ", ") }

// Plugin returns the name of the plugin that gave the verdict, once the
// framework has put it there.
func (s *Status) Plugin() string {
	if s == nil {
		return ""
	}
	return s.plugin
}

// By returns the verdict with the name of the plugin that gave it. A plugin may
// share one Status between calls, so it is copied.
func (s *Status) By(plugin string) *Status {
	if s == nil || s.plugin == plugin {
		return s
	}
	c := *s
	c.plugin = plugin
	return &c
}

// Success says that the verdict is Success.
func (s *Status) Success() bool { return s.Code() == Success }

// Rejected says that the pod cannot be placed now.
func (s *Status) Rejected() bool {
	return s.Code() == Unschedulable || s.Code() == UnschedulableAndUnresolvable
}

// Err returns an Error's cause, and nil for every other verdict.
func (s *Status) Err() error {
	if s.Code() != Error {
		return nil
	}
	return s
}

// Error makes a Status an error.
func (s *Status) Error() string {
	if s.Plugin() == "" {
		return s.Message()
	}
	return "plugin " + s.Plugin() + ": " + s.Message()
}

// Unwrap returns the error that AsStatus was given.
func (s *Status) Unwrap() error { return s.err }

// Equal says whether two verdicts read the same.
func (s *Status) Equal(o *Status) bool {
	return s.Code() == o.Code() && s.Plugin() == o.Plugin() && slices.Equal(s.Reasons(), o.Reasons())
}
