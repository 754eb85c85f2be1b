package statefulset

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/controller/history"
	"navarch.dev/navarch/services/controller/podset"
)

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return fmt.Sprintf("%s-%d", set.Name, ordinal)
}

// ordinalOf reads a pod's ordinal from its name.
func ordinalOf(set *appsv1.StatefulSet, name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, set.Name+"-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && podName(set, n) == name
}

// first is the lowest ordinal.
func first(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals != nil {
		return int(set.Spec.Ordinals.Start)
	}
	return 0
}

// newPod makes the pod of an ordinal in a revision.
func (ro *rollout) newPod(ordinal int, rev *appsv1.ControllerRevision) (*corev1.Pod, error) {
	template, err := history.TemplateOf(rev)
	if err != nil {
		return nil, err
	}
	pod := podset.FromTemplate(template, ro.set, ro.sets.Kind().GVK())
	pod.GenerateName, pod.Name = "", podName(ro.set, ordinal)
	if pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = rev.Name
	maps.Copy(pod.Labels, identity(ro.set, ordinal))
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, ro.set.Spec.ServiceName
	for _, t := range ro.set.Spec.VolumeClaimTemplates {
		mount(pod, t.Name, claimName(t.Name, pod.Name))
	}
	return pod, nil
}

// mount makes a volume of the pod the claim, whatever the template says it is.
func mount(pod *corev1.Pod, volume, claim string) {
	pod.Spec.Volumes = append(slices.DeleteFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume }), corev1.Volume{
		Name: volume,
		VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: claim,
		}},
	})
}

// create makes a pod, after the claims it needs.
func (ro *rollout) create(ctx context.Context, ordinal int) error {
	pod, err := ro.newPod(ordinal, ro.revisionFor(ordinal))
	if err != nil {
		return err
	}
	if ro.hasInheritedClaims(pod.Name) {
		return nil
	}
	if err := ro.ensureClaims(ctx, pod.Name); err != nil {
		return err
	}
	_, err = ro.control.Create(ctx, ro.set, []*corev1.Pod{pod})
	return err
}

// identify gives pods that have lost them the labels by which Services and people
// find them.
func (ro *rollout) identify(ctx context.Context) (goOn bool, err error) {
	for i, pod := range ro.slots {
		labels := identity(ro.set, first(ro.set)+i)
		if pod == nil || pod.DeletionTimestamp != nil || pod.Labels[appsv1.StatefulSetPodNameLabel] == pod.Name {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "labels": labels}})
		if err != nil {
			return false, fmt.Errorf("encode the labels of pod %s: %w", pod.Name, err)
		}
		target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		if err := ro.client.Patch(ctx, target, types.MergePatchType, patch, ""); err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("label pod %s: %w", pod.Name, err)
		}
	}
	return true, nil
}

// identity are the labels that tell a set's pod from its siblings.
func identity(set *appsv1.StatefulSet, ordinal int) map[string]string {
	return map[string]string{appsv1.StatefulSetPodNameLabel: podName(set, ordinal), appsv1.PodIndexLabel: strconv.Itoa(ordinal)}
}

// isOf says whether a pod was made from a revision.
func isOf(pod *corev1.Pod, rev *appsv1.ControllerRevision) bool {
	have := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	return have == rev.Name || have == history.Hash(rev)
}
