package tracing

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

// barWidth is how many characters the whole trace's time takes.
const barWidth = 40

// WriteWaterfall draws a trace: a line per span, indented below its parent,
// with when it began, how long it took, and a bar on the trace's time.
func WriteWaterfall(w io.Writer, spans []*tracev1.Span) error {
	if len(spans) == 0 {
		return nil
	}
	d := newDrawing(spans)
	if _, err := fmt.Fprintf(w, "%-*s %10s %10s  %s\n", d.labelWidth, "SPAN", "START", "TOOK", "TIMELINE"); err != nil {
		return err
	}
	return d.write(w, "", 0)
}

// drawing is a trace as a tree. Spans whose parent is not held are roots.
type drawing struct {
	children   map[string][]*tracev1.Span
	start      time.Time
	length     time.Duration
	labelWidth int
}

func newDrawing(spans []*tracev1.Span) *drawing {
	held := make(map[string]bool, len(spans))
	spans = slices.DeleteFunc(slices.Clone(spans), func(s *tracev1.Span) bool {
		again := held[s.GetSpanId()]
		held[s.GetSpanId()] = true
		return again || s.GetSpanId() == "" // it could not be told from its parent
	})
	delete(held, "")
	d := &drawing{children: make(map[string][]*tracev1.Span)}
	var end time.Time
	for i, s := range spans {
		parent := s.GetParentSpanId()
		if !held[parent] {
			parent = ""
		}
		d.children[parent] = append(d.children[parent], s)
		if t := s.GetStartTime().AsTime(); i == 0 || t.Before(d.start) {
			d.start = t
		}
		if t := s.GetEndTime().AsTime(); t.After(end) {
			end = t
		}
	}
	for _, siblings := range d.children {
		slices.SortStableFunc(siblings, func(a, b *tracev1.Span) int {
			return cmp.Or(a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime()), cmp.Compare(a.GetName(), b.GetName()))
		})
	}
	d.length = max(end.Sub(d.start), time.Microsecond)
	d.measure("", 0)
	return d
}

func (d *drawing) measure(parent string, depth int) {
	for _, s := range d.children[parent] {
		d.labelWidth = max(d.labelWidth, len([]rune(label(s, depth))))
		d.measure(s.GetSpanId(), depth+1)
	}
}

func (d *drawing) write(w io.Writer, parent string, depth int) error {
	for _, s := range d.children[parent] {
		began, took := s.GetStartTime().AsTime().Sub(d.start), s.GetEndTime().AsTime().Sub(s.GetStartTime().AsTime())
		line := fmt.Sprintf("%-*s %10s %10s  %s", d.labelWidth, label(s, depth), milliseconds(began), milliseconds(took), d.bar(began, took))
		if s.GetError() != "" {
			line += "  ! " + s.GetError()
		} else if met := s.GetAttributes()[errorType]; met != "" {
			line += "  (" + met + ")"
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
		if err := d.write(w, s.GetSpanId(), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *drawing) bar(began, took time.Duration) string {
	share := func(t time.Duration) int { return int(barWidth * float64(t) / float64(d.length)) }
	width := max(1, share(took))
	from := min(max(0, share(began)), barWidth-1)
	width = min(width, barWidth-from)
	return strings.Repeat(" ", from) + strings.Repeat("█", width)
}

func label(s *tracev1.Span, depth int) string {
	text := strings.Repeat("  ", depth) + s.GetService() + "  " + shortName(s.GetName())
	for _, key := range []string{"k8s.pod.name", "k8s.object.name", "k8s.container.name"} {
		if v := s.GetAttributes()[key]; v != "" {
			text += " " + v
			break
		}
	}
	return text
}

// shortName leaves the package out of the full name of a gRPC method.
func shortName(name string) string {
	if method, ok := strings.CutPrefix(name, "navarch."); ok && strings.Contains(method, "/") {
		_, method, _ = strings.Cut(method, ".v1.")
		return method
	}
	return name
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
}
