package kinds

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
)

// warned returns the strategy of a kind with pods of a template at a path, whose
// authors are told what they probably did not mean by it: when they make an object,
// and when they ask for something else. more is what else they are told; it may be
// nil.
func warned[O Object](s Strategy, at *field.Path, template func(O) *corev1.PodTemplateSpec, more func(O) []string) Strategy {
	tell := func(obj Object) []string {
		var out []string
		if t := template(obj.(O)); t != nil {
			out = podspec.Warnings(&t.ObjectMeta, &t.Spec, at)
		}
		if more != nil {
			out = append(out, more(obj.(O))...)
		}
		return out
	}
	s.Warnings = func(_ context.Context, obj Object) []string { return tell(obj) }
	s.UpdateWarnings = func(obj, old Object) []string {
		if obj.GetGeneration() == old.GetGeneration() {
			return nil
		}
		return tell(obj)
	}
	return s
}

// warnedOfNames is for kinds whose names become a part of their pods' names.
func warnedOfNames(s Strategy) Strategy {
	others := s.Warnings
	s.Warnings = func(ctx context.Context, obj Object) []string {
		return append(nameWarnings(obj, "this is used in Pod names and hostnames"), others(ctx, obj)...)
	}
	return s
}

func nameWarnings(obj Object, use string) []string {
	if msgs := validation.IsDNS1123Label(obj.GetName()); len(msgs) > 0 {
		return []string{fmt.Sprintf("metadata.name: %s, which can result in surprising behavior; a DNS label is recommended: %v", use, msgs)}
	}
	return nil
}

// warnOfManyIndexes tells of jobs whose failed indexes may not all be told.
func warnOfManyIndexes(j *batchv1.Job) []string {
	if deref(j.Spec.CompletionMode) != batchv1.IndexedCompletion || deref(j.Spec.Completions) <= 100_000 || deref(j.Spec.Parallelism) <= 10_000 {
		return nil
	}
	return []string{"spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"}
}
