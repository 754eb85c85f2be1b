package job

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// indexSet is a set of completion indexes.
type indexSet map[int]bool

// parseIndexes reads "0-3,7", as far as the indexes are below the limit. What
// cannot be read is left out: the status is ours, and what is missing in it
// runs again.
func parseIndexes(s string, limit int) indexSet {
	set := make(indexSet)
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		for i := max(first, 0); i <= min(last, limit-1); i++ {
			set[i] = true
		}
	}
	return set
}

// String writes the set as parseIndexes reads it.
func (set indexSet) String() string {
	var parts []string
	sorted := slices.Sorted(maps.Keys(set))
	for i := 0; i < len(sorted); {
		j := i
		for j+1 < len(sorted) && sorted[j+1] == sorted[j]+1 {
			j++
		}
		part := strconv.Itoa(sorted[i])
		switch j - i {
		case 0:
		case 1:
			part += "," + strconv.Itoa(sorted[j])
		default:
			part += "-" + strconv.Itoa(sorted[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// indexOf returns a pod's completion index.
func indexOf(pod *corev1.Pod) (int, bool) {
	i, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	return i, err == nil && i >= 0
}

// index returns a pod's completion index if the Job has such an index.
func (s *step) index(pod *corev1.Pod) (int, bool) {
	i, ok := indexOf(pod)
	return i, ok && isIndexed(s.job) && i < s.completions()
}

// completions is how many indexes an Indexed Job has.
func (s *step) completions() int { return int(ptr.Deref(s.job.Spec.Completions, 0)) }
