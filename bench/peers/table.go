package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// line is one line of the table.
type line struct {
	figure, navarch, kube, ratio, target string
	met                                  bool
}

// writeTable prints the table in Markdown that also reads well as it is.
func writeTable(w io.Writer, lines []line) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintln(t, "| figure\t| Navarch\t| kube-apiserver\t| ratio\t| target\t| met\t|")
	_, _ = fmt.Fprintln(t, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, l := range lines {
		met := "no"
		if l.met {
			met = "yes"
		}
		_, _ = fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n", l.figure, l.navarch, l.kube, l.ratio, l.target, met)
	}
	return t.Flush()
}

// pair holds what was measured of both, a value for each round.
type pair struct{ navarch, kube []float64 }

func (m *pair) add(p *peers, s *server, v float64) {
	if s == p.navarch {
		m.navarch = append(m.navarch, v)
	} else {
		m.kube = append(m.kube, v)
	}
}

// atLeast makes a line of figures of which more is better.
func (m *pair) atLeast(figure string, show func(float64) string, target float64) line {
	return newLine(figure, show, m, median(m.navarch)/median(m.kube), target)
}

// less makes a line of figures of which less is better.
func (m *pair) less(figure string, show func(float64) string, target float64) line {
	return newLine(figure, show, m, median(m.kube)/median(m.navarch), target)
}

// faster makes a line of times in seconds.
func (m *pair) faster(figure string, target float64) line { return m.less(figure, seconds, target) }

func newLine(figure string, show func(float64) string, m *pair, ratio, target float64) line {
	return line{
		figure: figure, navarch: show(median(m.navarch)), kube: show(median(m.kube)),
		ratio: fmt.Sprintf("%.1f ×", ratio), target: fmt.Sprintf("≥ %g ×", target), met: ratio >= target,
	}
}

func perSecond(v float64) string { return fmt.Sprintf("%.0f/s", v) }

func mebibytes(v float64) string { return fmt.Sprintf("%.0f MiB", v) }

func seconds(v float64) string {
	d := time.Duration(v * float64(time.Second))
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// samples are times of one thing measured often.
type samples []time.Duration

// percentile returns the nearest-rank percentile.
func (s samples) percentile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := int(p/100*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
