package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// line is one line of the table.
type line struct {
	figure, navarch, kube, ratio, target string
	// met is "yes", "no", or "" if the target was not measured.
	met string
	// cost is what one unit of work took of the processor, at both.
	cost costs
}

// writeTable prints the table in Markdown that also reads well as it is.
func writeTable(w io.Writer, lines []line) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintln(t, "| figure\t| Navarch\t| Kubernetes\t| ratio\t| target\t| met\t| processor per unit\t| Kubernetes\t| ratio\t|")
	_, _ = fmt.Fprintln(t, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, l := range lines {
		_, _ = fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n", l.figure, l.navarch, l.kube, l.ratio, l.target, l.met,
			l.cost.navarch, l.cost.kube, l.cost.ratio)
	}
	return t.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// missed counts the lines whose target is not met.
func missed(lines []line) int {
	n := 0
	for _, l := range lines {
		if l.met == "no" {
			n++
		}
	}
	return n
}

// pair holds what was measured of both, a value for each round.
type pair struct {
	navarch, kube []float64
	spent         struct{ navarch, kube []spent }
}

// add notes a turn's value, unless the turn only warmed up.
func (m *pair) add(t turn, v float64) {
	switch {
	case t.warmUp():
	case t.server == t.peers.navarch:
		m.navarch = append(m.navarch, v)
	default:
		m.kube = append(m.kube, v)
	}
}

// addSpent notes what a turn's work took of the processor, for units of it.
func (m *pair) addSpent(t turn, s spent, units int) {
	s = s.each(units)
	switch {
	case t.warmUp():
	case t.server == t.peers.navarch:
		m.spent.navarch = append(m.spent.navarch, s)
	default:
		m.spent.kube = append(m.spent.kube, s)
	}
}

// atLeast makes a line of figures of which more is better.
func (m *pair) atLeast(figure string, show func(float64) string, target float64) line {
	return m.line(figure, show, median(m.navarch)/median(m.kube), target)
}

// less makes a line of figures of which less is better.
func (m *pair) less(figure string, show func(float64) string, target float64) line {
	return m.line(figure, show, median(m.kube)/median(m.navarch), target)
}

// faster makes a line of times in seconds.
func (m *pair) faster(figure string, target float64) line { return m.less(figure, seconds, target) }

// atMost makes a line of figures of which less is better and whose target is set
// for Navarch's own.
func (m *pair) atMost(figure string, show func(float64) string, limit float64) line {
	l := m.less(figure, show, 0)
	l.target, l.met = "≤ "+show(limit), ""
	if len(m.navarch) > 0 {
		l.met = yesNo(median(m.navarch) <= limit)
	}
	return l
}

func (m *pair) line(figure string, show func(float64) string, ratio, target float64) line {
	l := line{figure: figure, target: fmt.Sprintf("≥ %g ×", target), cost: m.costs()}
	if len(m.navarch) > 0 {
		l.navarch = show(median(m.navarch))
	}
	if len(m.kube) > 0 {
		l.kube = show(median(m.kube))
	}
	if len(m.navarch) > 0 && len(m.kube) > 0 {
		l.ratio, l.met = times(ratio), yesNo(ratio >= target)
	}
	return l
}

// costs are the columns about processor time; empty if it was not measured.
type costs struct{ navarch, kube, ratio string }

func (m *pair) costs() costs {
	var c costs
	navarch, kube := medianSpent(m.spent.navarch), medianSpent(m.spent.kube)
	if navarch.server > 0 {
		c.navarch = navarch.String()
	}
	if kube.server > 0 {
		c.kube = kube.String()
	}
	if navarch.server > 0 && kube.server > 0 {
		c.ratio = times(float64(kube.server) / float64(navarch.server))
	}
	return c
}

func times(ratio float64) string { return fmt.Sprintf("%.1f ×", ratio) }

func perSecond(v float64) string { return fmt.Sprintf("%.0f/s", v) }

func mebibytes(v float64) string { return fmt.Sprintf("%.0f MiB", v) }

func seconds(v float64) string { return short(time.Duration(v * float64(time.Second))) }

// short writes a time with about three digits.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return d.Round(10 * time.Nanosecond).String()
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
