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
	figure, measured, reference, ratio, target string
	met                                        bool
}

// writeTable prints the table in Markdown that also reads well as it is.
func writeTable(w io.Writer, lines []line) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintln(t, "| figure\t| measured\t| reference\t| ratio\t| target\t| met\t|")
	_, _ = fmt.Fprintln(t, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, l := range lines {
		met := "no"
		if l.met {
			met = "yes"
		}
		_, _ = fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n", l.figure, l.measured, l.reference, l.ratio, l.target, met)
	}
	return t.Flush()
}

// atMost makes a line of two times whose ratio must not exceed limit.
func atMost(figure string, measured, reference time.Duration, limit float64, against string) line {
	ratio := float64(measured) / float64(reference)
	return line{
		figure: figure, measured: show(measured), reference: show(reference) + " " + against,
		ratio: fmt.Sprintf("%.2f ×", ratio), target: fmt.Sprintf("≤ %g ×", limit), met: ratio <= limit,
	}
}

func show(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	if d < time.Second {
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
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	rank := int(p/100*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func (s samples) median() time.Duration { return s.percentile(50) }

// timed returns how long f took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}
