package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resourcehelper "k8s.io/component-helpers/resource"

	"navarch.dev/navarch/services/store/access"
)

// The causes of refused resizes.
const (
	causeNodeCapacity        metav1.CauseType = "NodeCapacity"
	causeUnsupportedPlatform metav1.CauseType = "UnsupportedPlatform"
)

// podResize refuses new resources of a running pod that its node can never
// give it, so that whoever asks is told at once.
type podResize struct {
	noMutation
	reader access.Reader
}

// Validate implements Plugin.
func (p podResize) Validate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Operation != Update || r.Subresource != resizeSubresource {
		return nil
	}
	if pod.Spec.NodeName == "" || pod.Generation == r.Old.GetGeneration() {
		return nil
	}
	obj, err := p.reader.Get(ctx, schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if err != nil {
		return fmt.Errorf("look up node %s: %w", pod.Spec.NodeName, err)
	}
	node := obj.(*corev1.Node)
	if os, told := node.Labels[corev1.LabelOSStable]; told && os != string(corev1.Linux) {
		return refuseResize(r, causeUnsupportedPlatform, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
	}
	if err := withinAllocatable(pod, node.Status.Allocatable); err != nil {
		return refuseResize(r, causeNodeCapacity, err)
	}
	return nil
}

func refuseResize(r *Request, cause metav1.CauseType, why error) error {
	err := apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), why)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	return err
}

// withinAllocatable says whether a node without other pods could run the pod.
func withinAllocatable(pod *corev1.Pod, allocatable corev1.ResourceList) error {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	var lacking []string
	if cpu, all := requests.Cpu(), allocatable.Cpu(); cpu.Cmp(*all) > 0 {
		lacking = append(lacking, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), all.MilliValue()))
	}
	if memory, all := requests.Memory(), allocatable.Memory(); memory.Cmp(*all) > 0 {
		lacking = append(lacking, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), all.Value()))
	}
	if len(lacking) > 0 {
		return fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(lacking, "; "))
	}
	return nil
}
