package job

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
)

// byJob is the index of the pods with the finalizer, by the key of the Job that
// is their controller or, without a controller, under orphansOf their namespace.
const byJob = "tracked-by-job"

func orphansOf(namespace string) string { return "orphans/" + namespace + "/" }

// strayIndexers returns what the informer of pods needs for freeStrays.
func strayIndexers() cache.Indexers {
	return cache.Indexers{byJob: func(v any) ([]string, error) {
		pod, ok := v.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("index a %T by its job: not a pod", v)
		}
		ref := metav1.GetControllerOfNoCopy(pod)
		switch {
		case !isTracked(pod):
			return nil, nil
		case ref == nil:
			return []string{orphansOf(pod.Namespace)}, nil
		case ref.Kind != "Job":
			return nil, nil
		}
		return []string{cache.NewObjectName(pod.Namespace, ref.Name).String()}, nil
	}}
}

// freeStrays takes the finalizer off pods whose Job is gone or has released
// them: nobody will count them any more.
func (r *reconciler) freeStrays(ctx context.Context, key string, job *batchv1.Job) error {
	for _, of := range []string{key, orphansOf(namespaceOf(key))} {
		tracked, err := r.control.Pods.ByIndex(byJob, of)
		if err != nil {
			return err
		}
		for _, pod := range tracked {
			if !isStray(pod, job) {
				continue
			}
			if err := r.free(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// isStray says whether a tracked pod, which names the Job's key or no
// controller, is not the Job's. job is nil if there is none.
func isStray(pod *corev1.Pod, job *batchv1.Job) bool {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref != nil {
		return job == nil || job.UID != ref.UID
	}
	if job == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	return err == nil && !selector.Matches(labels.Set(pod.Labels))
}

func isTracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

// free takes the finalizer off a pod.
func (r *reconciler) free(ctx context.Context, pod *corev1.Pod) error {
	if !isTracked(pod) {
		return nil
	}
	freed := pod.DeepCopy()
	freed.Finalizers = slices.DeleteFunc(freed.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
	err := r.client.Update(ctx, freed)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take the finalizer off pod %s: %w", pod.Name, err)
	}
	return nil
}
