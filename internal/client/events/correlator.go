package events

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"
)

const (
	// remembered bounds each of the correlator's tables, unless Limits say
	// otherwise.
	remembered = 4096
	// similarMax different messages within similarWindow are told apart, more
	// are combined.
	similarMax    = 10
	similarWindow = 10 * time.Minute
	// burst and refill limit the events about one object.
	burst  = 25
	refill = 5 * time.Minute

	combinedPrefix = "(combined from similar events): "
	// maxMessage is the longest message that the API accepts.
	maxMessage = 1024
)

// series is one stored event and how often it has happened.
type series struct {
	// name of the stored event; empty until it is stored.
	name     string
	first    time.Time
	count    int32
	combined bool
}

// message is what the stored event says after rec.
func (s *series) message(rec record) string {
	if s.combined {
		return truncate(combinedPrefix + rec.message)
	}
	return truncate(rec.message)
}

// truncate keeps a message within what the API accepts, on a rune boundary.
func truncate(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage], "")
}

// similar are the records that differ by their message only.
type similar struct {
	messages map[string]bool
	last     time.Time
}

// correlator decides which stored event a record belongs to. It is used from
// one goroutine.
type correlator struct {
	series  *lru.Cache // message and similarity key → *series
	similar *lru.Cache // similarity key → *similar
	limits  *lru.Cache // object → *rate.Limiter
}

func newCorrelator(size int) *correlator {
	return &correlator{series: lru.New(size), similar: lru.New(size), limits: lru.New(size)}
}

// observe returns the series that rec belongs to, counted; false if the object
// has had more than its share.
func (c *correlator) observe(rec record) (*series, bool) {
	if !c.limit(rec).AllowN(rec.at, 1) {
		return nil, false
	}
	key, combined := c.seriesKey(rec)
	if have, ok := c.series.Get(key); ok {
		s := have.(*series)
		s.count++
		return s, true
	}
	s := &series{first: rec.at, count: 1, combined: combined}
	c.series.Add(key, s)
	return s, true
}

// seriesKey tells series apart: by the message, until there are too many of
// them.
func (c *correlator) seriesKey(rec record) (key string, combined bool) {
	alike := similarityKey(rec)
	g := &similar{messages: make(map[string]bool)}
	if have, ok := c.similar.Get(alike); ok && rec.at.Sub(have.(*similar).last) <= similarWindow {
		g = have.(*similar)
	}
	g.last = rec.at
	if len(g.messages) < similarMax || g.messages[rec.message] {
		g.messages[rec.message] = true
	} else {
		combined = true
	}
	c.similar.Add(alike, g)
	if combined {
		return alike, true
	}
	return alike + "\x00" + rec.message, false
}

func (c *correlator) limit(rec record) *rate.Limiter {
	key := objectKey(rec.object)
	if have, ok := c.limits.Get(key); ok {
		return have.(*rate.Limiter)
	}
	l := rate.NewLimiter(rate.Every(refill), burst)
	c.limits.Add(key, l)
	return l
}

func objectKey(o corev1.ObjectReference) string {
	return strings.Join([]string{o.APIVersion, o.Kind, o.Namespace, o.Name, string(o.UID)}, "\x00")
}

func similarityKey(rec record) string {
	return strings.Join([]string{objectKey(rec.object), rec.object.FieldPath, rec.eventType, rec.reason}, "\x00")
}

// eventNamespace is where an object's events live: beside it, or in "default"
// for cluster-scoped objects.
func eventNamespace(o corev1.ObjectReference) string {
	if o.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return o.Namespace
}

// newEvent makes the event to store. Its name is the object's and the time,
// which is how users tell events apart since the first Kubernetes.
func newEvent(source corev1.EventSource, rec record, message string, first time.Time, count int32) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: eventNamespace(rec.object),
			Name:      fmt.Sprintf("%s.%x", rec.object.Name, rec.at.UnixNano()),
		},
		InvolvedObject:      rec.object,
		Reason:              rec.reason,
		Message:             message,
		Source:              source,
		FirstTimestamp:      metav1.NewTime(first),
		LastTimestamp:       metav1.NewTime(rec.at),
		Count:               count,
		Type:                rec.eventType,
		ReportingController: source.Component,
		ReportingInstance:   source.Host,
	}
}
