// Package shape scores how much of a capacity is used by a broken line, as
// configurations of plugins give it: through points of utilization, in percent,
// and score. Outside of the points the line is level.
package shape

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
)

// maxScore is the highest score of a point, which is framework.MaxScore for a
// node.
const maxScore = 10

// full is the utilization at which nothing is left.
const full = 100

// Validate returns what is wrong with the points of a line. There must be one.
func Validate(path *field.Path, points []configv1.UtilizationShapePoint) field.ErrorList {
	if len(points) == 0 {
		return field.ErrorList{field.Required(path, "must have at least one point")}
	}
	var errs field.ErrorList
	for i, p := range points {
		at := path.Index(i)
		switch {
		case p.Utilization < 0 || p.Utilization > full:
			errs = append(errs, field.Invalid(at.Child("utilization"), p.Utilization, fmt.Sprintf("must be from 0 to %d", full)))
		case i > 0 && p.Utilization <= points[i-1].Utilization:
			errs = append(errs, field.Invalid(at.Child("utilization"), p.Utilization,
				fmt.Sprintf("must be more than that of the point before, %d", points[i-1].Utilization)))
		}
		if p.Score < 0 || p.Score > maxScore {
			errs = append(errs, field.Invalid(at.Child("score"), p.Score, fmt.Sprintf("must be from 0 to %d", maxScore)))
		}
	}
	return errs
}

// Function returns what scores, from 0 to framework.MaxScore, that so much of a
// capacity is used. More than all of it, and any of nothing, is as all of it.
// The points are valid.
func Function(points []configv1.UtilizationShapePoint) func(used, capacity int64) int64 {
	xs, ys := make([]int64, len(points)), make([]int64, len(points))
	for i, p := range points {
		xs[i], ys[i] = int64(p.Utilization), int64(p.Score)*(framework.MaxScore/maxScore)
	}
	return func(used, capacity int64) int64 {
		x := int64(full)
		if capacity > 0 && used <= capacity {
			x = used * full / capacity
		}
		for i := range xs {
			switch {
			case x > xs[i]:
			case i == 0:
				return ys[0]
			default:
				return ys[i-1] + (ys[i]-ys[i-1])*(x-xs[i-1])/(xs[i]-xs[i-1])
			}
		}
		return ys[len(ys)-1]
	}
}
