package podworker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

func TestRestartRules(t *testing.T) {
	rule := func(operator corev1.ContainerRestartRuleOnExitCodesOperator, values ...int32) corev1.ContainerRestartRule {
		return corev1.ContainerRestartRule{
			Action:    corev1.ContainerRestartRuleActionRestart,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: operator, Values: values},
		}
	}
	const in, notIn = corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn
	for _, tt := range []struct {
		name   string
		policy corev1.ContainerRestartPolicy
		rules  []corev1.ContainerRestartRule
		code   int
		want   bool
	}{
		{"no rule", corev1.ContainerRestartPolicyNever, nil, 42, false},
		{"matches", corev1.ContainerRestartPolicyNever, []corev1.ContainerRestartRule{rule(in, 1, 42)}, 42, true},
		{"does not match", corev1.ContainerRestartPolicyNever, []corev1.ContainerRestartRule{rule(in, 1)}, 42, false},
		{"none of them", corev1.ContainerRestartPolicyNever, []corev1.ContainerRestartRule{rule(notIn, 1)}, 42, true},
		{"one of them", corev1.ContainerRestartPolicyNever, []corev1.ContainerRestartRule{rule(notIn, 42)}, 42, false},
		{"the second", corev1.ContainerRestartPolicyNever, []corev1.ContainerRestartRule{rule(in, 1), rule(in, 42)}, 42, true},
		{"success", corev1.ContainerRestartPolicyOnFailure, []corev1.ContainerRestartRule{rule(in, 0)}, 0, true},
		{"the policy, where no rule matches", corev1.ContainerRestartPolicyOnFailure, []corev1.ContainerRestartRule{rule(in, 1)}, 42, true},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}}
		for _, role := range []role{roleMain, roleInit} {
			c := &container{
				spec: &corev1.Container{RestartPolicy: &tt.policy, RestartPolicyRules: tt.rules}, role: role, present: true,
				current: runtime.ContainerStatus{State: runtime.StateExited, ExitCode: tt.code},
			}
			if got := c.restartable(pod); got != tt.want {
				t.Errorf("%s, role %v: restarted is %v", tt.name, role, got)
			}
		}
	}
}
