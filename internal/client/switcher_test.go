package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestSwitcher(t *testing.T) {
	unavailable := apierrors.NewServiceUnavailable("no etcd")
	for name, tt := range map[string]struct {
		err      error
		switched bool
	}{
		"it does not answer":      {fmt.Errorf("renew: %w", context.DeadlineExceeded), true},
		"it is not available":     {fmt.Errorf("renew: %w", unavailable), true},
		"it fails":                {apierrors.NewInternalError(errors.New("lost")), true},
		"it times out":            {apierrors.NewTimeoutError("etcd", 1), true},
		"somebody else was first": {apierrors.NewConflict(schema.GroupResource{}, "x", errors.New("newer")), false},
		"it is not there":         {apierrors.NewNotFound(schema.GroupResource{}, "x"), false},
		"it is forbidden":         {apierrors.NewForbidden(schema.GroupResource{}, "x", nil), false},
		"nobody waits any more":   {context.Canceled, false},
		"it succeeds":             {nil, false},
	} {
		calls := 0
		s := NewSwitcher(func() { calls++ }, time.Second, 0)
		if got := s.Failed(tt.err); got != tt.switched || (calls == 1) != tt.switched {
			t.Errorf("%s: switched %t, %d calls", name, got, calls)
		}
	}
	if NewSwitcher(nil, time.Second, 0).Failed(unavailable) {
		t.Error("one of one Store goes to another")
	}
}

func TestStaysGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		s := NewSwitcher(func() { at = append(at, time.Since(start)) }, time.Second, 0)
		for range 200 {
			s.Failed(context.DeadlineExceeded)
			time.Sleep(time.Second)
		}
		if got, want := fmt.Sprint(at), "[0s 1s 3s 7s 15s 31s 1m3s 2m3s 3m3s]"; got != want {
			t.Errorf("it went on at %s, want %s", got, want)
		}
		s.Succeeded()
		if !s.Failed(context.DeadlineExceeded) {
			t.Error("after a success it stays where it fails")
		}
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := NewSwitcher(func() { calls++ }, time.Second, 5*time.Second)
		for range 5 {
			s.Failed(context.DeadlineExceeded)
			time.Sleep(time.Second)
		}
		s.Succeeded()
		for range 5 {
			s.Failed(context.DeadlineExceeded)
			time.Sleep(time.Second)
		}
		if calls != 0 {
			t.Errorf("it left %d times before it failed for long", calls)
		}
		if !s.Failed(context.DeadlineExceeded) || calls != 1 {
			t.Errorf("it left %d times after it failed for long", calls)
		}
	})
}
