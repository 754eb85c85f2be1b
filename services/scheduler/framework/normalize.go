package framework

import "slices"

// Normalize scales scores so that the highest becomes MaxScore. If all are 0
// they stay.
func Normalize(scores []int64) {
	if len(scores) == 0 {
		return
	}
	best := slices.Max(scores)
	if best == 0 {
		return
	}
	for i := range scores {
		scores[i] = scores[i] * MaxScore / best
	}
}

// NormalizeReversed scales scores so that the highest becomes 0 and 0 becomes
// MaxScore.
func NormalizeReversed(scores []int64) {
	Normalize(scores)
	for i := range scores {
		scores[i] = MaxScore - scores[i]
	}
}
