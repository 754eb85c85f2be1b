package framework

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaiting(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *Waiting, cancel func())
		want Code
	}{
		{"allowed", func(w *Waiting, _ func()) { w.Allow("p") }, Success},
		{"rejected", func(w *Waiting, _ func()) { w.Reject("p", "Quota", "no") }, Unschedulable},
		{"the first answer counts", func(w *Waiting, _ func()) { w.Allow("p"); w.Reject("p", "Quota", "no") }, Success},
		{"time is up", func(*Waiting, func()) {}, Unschedulable},
		{"stopped", func(_ *Waiting, cancel func()) { cancel() }, Error},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var w Waiting
				wait := w.Begin("p", "Quota")
				tt.do(&w, cancel)
				if got := wait(ctx, time.Minute); got.Code() != tt.want {
					t.Errorf("%v: %s", got.Code(), got.Message())
				}
				if w.Allow("p") {
					t.Error("it still waits")
				}
			})
		})
	}
}
