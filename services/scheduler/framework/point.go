package framework

import "fmt"

// Point is an extension point, named as configurations name it.
type Point string

// The extension points.
const (
	PreEnqueuePoint Point = "preEnqueue"
	QueueSortPoint  Point = "queueSort"
	PreFilterPoint  Point = "preFilter"
	FilterPoint     Point = "filter"
	PostFilterPoint Point = "postFilter"
	PreScorePoint   Point = "preScore"
	ScorePoint      Point = "score"
	ReservePoint    Point = "reserve"
	PermitPoint     Point = "permit"
	PreBindPoint    Point = "preBind"
	BindPoint       Point = "bind"
)

// Points returns every extension point, in the order in which a pod passes
// them.
func Points() []Point {
	return []Point{
		PreEnqueuePoint, QueueSortPoint, PreFilterPoint, FilterPoint, PostFilterPoint, PreScorePoint, ScorePoint,
		ReservePoint, PermitPoint, PreBindPoint, BindPoint,
	}
}

// Implements says whether a plugin can take part at an extension point.
func Implements(p Plugin, at Point) bool {
	switch at {
	case PreEnqueuePoint:
		return is[PreEnqueue](p)
	case QueueSortPoint:
		return is[QueueSort](p)
	case PreFilterPoint:
		return is[PreFilter](p)
	case FilterPoint:
		return is[Filter](p)
	case PostFilterPoint:
		return is[PostFilter](p)
	case PreScorePoint:
		return is[PreScore](p)
	case ScorePoint:
		return is[Score](p)
	case ReservePoint:
		return is[Reserve](p)
	case PermitPoint:
		return is[Permit](p)
	case PreBindPoint:
		return is[PreBind](p)
	case BindPoint:
		return is[Bind](p)
	}
	return false
}

func is[T Plugin](p Plugin) bool {
	_, ok := p.(T)
	return ok
}

// needs is where a plugin works out what it uses at another point: it cannot
// take part there alone.
func (at Point) needs() (Point, bool) {
	switch at {
	case FilterPoint, ReservePoint:
		return PreFilterPoint, true
	case ScorePoint:
		return PreScorePoint, true
	case PreBindPoint:
		return ReservePoint, true
	}
	return "", false
}

// Weighted is a plugin and what its scores count; the weight means nothing but
// at ScorePoint.
type Weighted struct {
	Plugin Plugin
	Weight int64
}

// Layout is which plugins take part at each extension point, in their order.
type Layout map[Point][]Weighted

// Everywhere lets plugins take part wherever they can.
func Everywhere(plugins ...Weighted) Layout {
	l := make(Layout)
	for _, at := range Points() {
		for _, w := range plugins {
			if Implements(w.Plugin, at) {
				l[at] = append(l[at], w)
			}
		}
	}
	return l
}

// Check returns the first thing that keeps a Layout from being a Profile.
func (l Layout) Check() error {
	for _, at := range Points() {
		seen := make(map[string]bool)
		for _, w := range l[at] {
			name := w.Plugin.Name()
			switch {
			case seen[name]:
				return fmt.Errorf("scheduler plugin %q is given twice at %s", name, at)
			case !Implements(w.Plugin, at):
				return fmt.Errorf("scheduler plugin %q has no part in %s", name, at)
			case at == ScorePoint && w.Weight <= 0:
				return fmt.Errorf("the weight of scheduler plugin %q is %d, not positive", name, w.Weight)
			}
			if needed, ok := at.needs(); ok && Implements(w.Plugin, needed) && !l.has(needed, name) {
				return fmt.Errorf("scheduler plugin %q takes part in %s, but not in %s, where it works out what it needs for that", name, at, needed)
			}
			seen[name] = true
		}
	}
	if n := len(l[QueueSortPoint]); n != 1 {
		return fmt.Errorf("%d scheduler plugins order the queue, not one", n)
	}
	if len(l[BindPoint]) == 0 {
		return fmt.Errorf("no scheduler plugin binds pods")
	}
	return nil
}

func (l Layout) has(at Point, name string) bool {
	for _, w := range l[at] {
		if w.Plugin.Name() == name {
			return true
		}
	}
	return false
}
