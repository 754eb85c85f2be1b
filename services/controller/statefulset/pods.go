package statefulset

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

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

// templateOf reads the pod template from a revision.
func templateOf(rev *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(rev.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", rev.Name, err)
	}
	return &patch.Spec.Template, nil
}

// newPod makes the pod of an ordinal in a revision.
func (ro *rollout) newPod(ordinal int, rev *appsv1.ControllerRevision) (*corev1.Pod, error) {
	template, err := templateOf(rev)
	if err != nil {
		return nil, err
	}
	pod := podset.FromTemplate(template, ro.set, ro.sets.Kind().GVK())
	pod.GenerateName, pod.Name = "", podName(ro.set, ordinal)
	if pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = rev.Name
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
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

// isOf says whether a pod was made from a revision.
func isOf(pod *corev1.Pod, rev *appsv1.ControllerRevision) bool {
	have := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	return have == rev.Name || have == history.Hash(rev)
}
