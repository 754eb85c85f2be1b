package store_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/storetest"
)

func TestEviction(t *testing.T) {
	// The pod has the label app=x. Each case has budgets that cover it, with
	// the status as a controller would have left it.
	const violation = "Cannot evict pod as it would violate the pod's disruption budget."
	healthy := policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 3}
	exhausted := policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 2, DesiredHealthy: 2, ExpectedPods: 3}
	disrupted := policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, DesiredHealthy: 2, ExpectedPods: 3}
	failed := policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: "jobs.batch does not implement the scale subresource", LastTransitionTime: metav1.Now(),
	}}}
	type state struct {
		phase corev1.PodPhase
		ready bool
	}
	ready, unready := state{corev1.PodRunning, true}, state{corev1.PodRunning, false}
	for name, tt := range map[string]struct {
		pod     state
		policy  *policyv1.UnhealthyPodEvictionPolicyType
		budgets []policyv1.PodDisruptionBudgetStatus
		dryRun  bool

		code       int32 // 0: the pod goes
		retryAfter int32
		cause      string
		spent      bool
	}{
		"no budget":                                   {pod: ready},
		"a budget with one left":                      {pod: ready, budgets: []policyv1.PodDisruptionBudgetStatus{healthy}, spent: true},
		"none left":                                   {pod: ready, budgets: []policyv1.PodDisruptionBudgetStatus{exhausted}, code: 429, cause: "The disruption budget b0 needs 2 healthy pods and has 2 currently"},
		"a budget not looked at":                      {pod: ready, budgets: []policyv1.PodDisruptionBudgetStatus{{}}, code: 429, retryAfter: 10, cause: "The disruption budget b0 is still being processed by the server."},
		"a budget without a word":                     {pod: ready, budgets: []policyv1.PodDisruptionBudgetStatus{failed}, code: 429, cause: "The disruption budget b0 does not allow evicting pods currently because it failed sync: jobs.batch does not implement the scale subresource"},
		"two budgets":                                 {pod: ready, budgets: []policyv1.PodDisruptionBudgetStatus{healthy, healthy}, code: 500},
		"nobody counts on a pending pod":              {pod: state{corev1.PodPending, false}, budgets: []policyv1.PodDisruptionBudgetStatus{exhausted}},
		"nor on one that has ended":                   {pod: state{corev1.PodSucceeded, false}, budgets: []policyv1.PodDisruptionBudgetStatus{exhausted, exhausted}},
		"an unhealthy pod of a healthy application":   {pod: unready, budgets: []policyv1.PodDisruptionBudgetStatus{exhausted}},
		"an unhealthy pod of a disrupted application": {pod: unready, budgets: []policyv1.PodDisruptionBudgetStatus{disrupted}, code: 429, cause: "The disruption budget b0 needs 2 healthy pods and has 1 currently"},
		"always an unhealthy pod":                     {pod: unready, policy: ptr.To(policyv1.AlwaysAllow), budgets: []policyv1.PodDisruptionBudgetStatus{disrupted}},
		"never a healthy one":                         {pod: ready, policy: ptr.To(policyv1.AlwaysAllow), budgets: []policyv1.PodDisruptionBudgetStatus{disrupted}, code: 429, cause: "The disruption budget b0 needs 2 healthy pods and has 1 currently"},
		"a trial":                                     {pod: ready, budgets: []policyv1.PodDisruptionBudgetStatus{healthy}, dryRun: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			c := storetest.New(t).Client(storetest.Admin())
			p := pod("p")
			p.Finalizers = []string{"example.com/keep"} // to see what becomes of it
			create(t, c, p)
			p.Status.Phase = tt.pod.phase
			if tt.pod.ready {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}
			if err := c.UpdateStatus(ctx, p); err != nil {
				t.Fatal(err)
			}
			var budgets []*policyv1.PodDisruptionBudget
			for i, status := range tt.budgets {
				b := &policyv1.PodDisruptionBudget{
					ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b" + string(rune('0'+i))},
					Spec: policyv1.PodDisruptionBudgetSpec{
						Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}, UnhealthyPodEvictionPolicy: tt.policy,
					},
				}
				create(t, c, b)
				b.Status = status
				if err := c.UpdateStatus(ctx, b); err != nil {
					t.Fatal(err)
				}
				budgets = append(budgets, b)
			}
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
			if tt.dryRun {
				eviction.DeleteOptions = &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
			}
			err := c.CreateSubresource(ctx, p, "eviction", eviction)
			checkRefusal(t, err, tt.code, tt.retryAfter, tt.cause)
			if tt.code == 429 && apierrors.ReasonForError(err) != metav1.StatusReasonTooManyRequests || tt.code == 429 && err.Error() != violation {
				t.Errorf("refused by %v", err)
			}
			if err := reread(t, c, p); err != nil {
				t.Fatal(err)
			}
			if gone := tt.code == 0 && !tt.dryRun; (p.DeletionTimestamp != nil) != gone || hasCondition(p, corev1.DisruptionTarget, "EvictionByEvictionAPI") != gone {
				t.Errorf("the pod is being deleted: %v, conditions %v", p.DeletionTimestamp, p.Status.Conditions)
			}
			for i, b := range budgets {
				if err := reread(t, c, kinds.Object(b)); err != nil {
					t.Fatal(err)
				}
				_, noted := b.Status.DisruptedPods["p"]
				if spent := b.Status.DisruptionsAllowed < tt.budgets[i].DisruptionsAllowed; spent != tt.spent || noted != tt.spent {
					t.Errorf("%s: spent %v, noted %v", b.Name, spent, noted)
				}
			}
		})
	}
}

func checkRefusal(t *testing.T, err error, code, retryAfter int32, cause string) {
	t.Helper()
	if code == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	status := apierrors.APIStatus(nil)
	if se, ok := err.(apierrors.APIStatus); ok {
		status = se
	}
	if status == nil || status.Status().Code != code {
		t.Fatalf("got %v, want code %d", err, code)
	}
	if cause == "" {
		return
	}
	d := status.Status().Details
	if d == nil || len(d.Causes) != 1 || d.Causes[0].Type != policyv1.DisruptionBudgetCause || d.Causes[0].Message != cause || d.RetryAfterSeconds != retryAfter {
		t.Errorf("details %+v, want the cause %q", d, cause)
	}
}

func hasCondition(p *corev1.Pod, t corev1.PodConditionType, reason string) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue && c.Reason == reason {
			return true
		}
	}
	return false
}
