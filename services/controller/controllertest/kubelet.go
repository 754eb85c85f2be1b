package controllertest

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// Kubelet returns a controller that stands in for every agent: it makes pods
// run and ready as soon as they exist, and ends those that are deleted.
func Kubelet(c *Cluster) *runner.Controller {
	c.t.Helper()
	pods, err := client.InformerFor[*corev1.Pod](c.Deps.Informers, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	k := runner.New("kubelet", kubelet{c, pods}, c.Deps, runner.Options{})
	runner.Primary(k, pods)
	return k
}

type kubelet struct {
	cluster *Cluster
	pods    *client.Informer[*corev1.Pod]
}

// Reconcile implements runner.Reconciler.
func (k kubelet) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	pod, ok := k.pods.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	if pod.DeletionTimestamp != nil {
		return runner.Done(), k.cluster.End(ctx, pod)
	}
	if pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "" {
		return runner.Done(), k.cluster.SetReady(ctx, pod, true)
	}
	return runner.Done(), nil
}

// SetReady makes a pod run, and ready or not.
func (c *Cluster) SetReady(ctx context.Context, pod *corev1.Pod, ready bool) error {
	pod = pod.DeepCopy()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.PodIP = address(pod)
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(time.Now()),
	}}
	return ignoreGone(c.UpdateStatus(ctx, pod))
}

// Finish makes a pod end with a phase.
func (c *Cluster) Finish(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase) error {
	pod = pod.DeepCopy()
	pod.Status.Phase = phase
	pod.Status.Conditions = nil
	return ignoreGone(c.UpdateStatus(ctx, pod))
}

// End removes a pod at once.
func (c *Cluster) End(ctx context.Context, pod *corev1.Pod) error {
	return ignoreGone(c.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID, GracePeriodSeconds: ptr.To[int64](0)}))
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// address makes an address from a pod's uid.
func address(pod *corev1.Pod) string {
	var sum uint32 = 2166136261
	for _, b := range []byte(pod.UID) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return netip.AddrFrom4([4]byte{10, byte(sum >> 16), byte(sum >> 8), byte(sum)}).String()
}
