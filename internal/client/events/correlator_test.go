package events

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func pulled(message string, at time.Time) record {
	return record{
		object:    corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "ns", Name: "web", UID: "1"},
		eventType: corev1.EventTypeNormal, reason: "Pulled", message: message, at: at,
	}
}

func TestRepeatedRecordsAreCounted(t *testing.T) {
	c := newCorrelator(remembered)
	now := time.Unix(1000, 0)
	for n := range 5 {
		s, ok := c.observe(pulled("same", now.Add(time.Duration(n)*time.Second)))
		if !ok {
			t.Fatalf("record %d was limited", n)
		}
		if int(s.count) != n+1 || !s.first.Equal(now) {
			t.Errorf("after record %d: count %d since %v", n, s.count, s.first)
		}
	}
	if s, _ := c.observe(pulled("other", now)); s.count != 1 {
		t.Errorf("another message has count %d", s.count)
	}
}

func TestSimilarRecordsAreCombined(t *testing.T) {
	c := newCorrelator(remembered)
	now := time.Unix(1000, 0)
	for n := range similarMax {
		if s, _ := c.observe(pulled(fmt.Sprint(n), now)); s.combined {
			t.Fatalf("message %d was combined", n)
		}
	}
	for n := range 3 {
		rec := pulled(fmt.Sprint("more ", n), now)
		s, _ := c.observe(rec)
		if !s.combined || int(s.count) != n+1 {
			t.Errorf("message %d past the limit: combined %v, count %d", n, s.combined, s.count)
		}
		if got := s.message(rec); got != combinedPrefix+rec.message {
			t.Errorf("message %q", got)
		}
	}
	if s, _ := c.observe(pulled("later", now.Add(similarWindow+time.Minute))); s.combined {
		t.Error("combined long after")
	}
}

func TestBurstIsLimitedPerObject(t *testing.T) {
	c := newCorrelator(remembered)
	now := time.Unix(1000, 0)
	for n := range burst {
		if _, ok := c.observe(pulled("m", now)); !ok {
			t.Fatalf("record %d was limited", n)
		}
	}
	if _, ok := c.observe(pulled("m", now)); ok {
		t.Error("no limit")
	}
	if _, ok := c.observe(pulled("m", now.Add(refill))); !ok {
		t.Error("limited after the refill time")
	}
	other := pulled("m", now)
	other.object.UID = "2"
	if _, ok := c.observe(other); !ok {
		t.Error("another object was limited")
	}
}

func TestLongMessageIsCut(t *testing.T) {
	got := truncate(strings.Repeat("é", maxMessage))
	if len(got) > maxMessage || strings.ContainsRune(got, '�') {
		t.Errorf("%d bytes", len(got))
	}
}
