package job

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// verdict is what the failure policy says about a failed pod.
type verdict struct {
	// action is empty if no rule matches; the failure then counts.
	action batchv1.PodFailurePolicyAction
	// message says which rule matched, and what in the pod.
	message string
}

// counts says whether a failure counts towards the backoff limits.
func (v verdict) counts() bool { return v.action != batchv1.PodFailurePolicyActionIgnore }

// verdictOn returns what the first rule that matches a failed pod says.
func verdictOn(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) verdict {
	if policy == nil {
		return verdict{}
	}
	for i := range policy.Rules {
		rule := &policy.Rules[i]
		if what := matched(rule, pod); what != "" {
			return verdict{rule.Action, fmt.Sprintf("%s matching %s rule at index %d", what, rule.Action, i)}
		}
	}
	return verdict{}
}

// matched says what in a pod matches a rule; it is empty if nothing does.
func matched(rule *batchv1.PodFailurePolicyRule, pod *corev1.Pod) string {
	if codes := rule.OnExitCodes; codes != nil {
		for _, c := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
			if exitMatches(codes, &c) {
				return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d", c.Name, pod.Namespace, pod.Name, c.State.Terminated.ExitCode)
			}
		}
		return ""
	}
	for _, c := range pod.Status.Conditions {
		for _, pattern := range rule.OnPodConditions {
			if c.Type == pattern.Type && c.Status == pattern.Status {
				return fmt.Sprintf("Pod %s/%s has condition %s", pod.Namespace, pod.Name, c.Type)
			}
		}
	}
	return ""
}

// exitMatches says whether a container has failed with one of the codes. One
// that ended well matches nothing, not even "not in".
func exitMatches(codes *batchv1.PodFailurePolicyOnExitCodesRequirement, c *corev1.ContainerStatus) bool {
	ended := c.State.Terminated
	if ended == nil || ended.ExitCode == 0 || (codes.ContainerName != nil && *codes.ContainerName != c.Name) {
		return false
	}
	listed := slices.Contains(codes.Values, ended.ExitCode)
	return listed == (codes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn)
}

// successRule returns the first rule of the success policy that the completed
// indexes satisfy.
func (s *step) successRule() (rule int, ok bool) {
	policy := s.job.Spec.SuccessPolicy
	if policy == nil || len(s.completed) == 0 {
		return 0, false
	}
	for i, rule := range policy.Rules {
		count := len(s.completed)
		need := -1 // every one of the rule's indexes
		if rule.SucceededIndexes != nil {
			wanted := parseIndexes(*rule.SucceededIndexes, s.completions())
			count = 0
			for index := range wanted {
				if s.completed[index] {
					count++
				}
			}
			if need = len(wanted); need == 0 {
				continue
			}
		}
		if rule.SucceededCount != nil {
			need = int(*rule.SucceededCount)
		}
		if need >= 0 && count >= need {
			return i, true
		}
	}
	return 0, false
}

// limitsIndexes says whether each index has a backoff limit of its own.
func limitsIndexes(job *batchv1.Job) bool {
	return isIndexed(job) && job.Spec.BackoffLimitPerIndex != nil
}

// failures is how often the index of a pod had failed when the pod was made:
// in all, and of those how often it was ignored.
func failures(pod *corev1.Pod) (counted, ignored int) {
	return annotatedNumber(pod, batchv1.JobIndexFailureCountAnnotation), annotatedNumber(pod, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

func annotatedNumber(pod *corev1.Pod, key string) int {
	n, err := strconv.Atoi(pod.Annotations[key])
	if err != nil {
		return 0 // the annotation is ours; without it there was no failure
	}
	return max(n, 0)
}

// failsIndex says whether a failed pod was its index's last attempt.
func (s *step) failsIndex(pod *corev1.Pod) bool {
	v := verdictOn(s.job.Spec.PodFailurePolicy, pod)
	if v.action == batchv1.PodFailurePolicyActionFailIndex {
		return true
	}
	counted, _ := failures(pod)
	return v.counts() && counted >= int(*s.job.Spec.BackoffLimitPerIndex)
}

// passOnFailures notes on the next pod of an index how often the index has
// failed, the pod that it replaces included.
func (s *step) passOnFailures(pod, replaced *corev1.Pod) {
	var counted, ignored int
	if replaced != nil {
		counted, ignored = failures(replaced)
		if verdictOn(s.job.Spec.PodFailurePolicy, replaced).counts() {
			counted++
		} else {
			ignored++
		}
	}
	pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(counted)
	if ignored > 0 {
		pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(ignored)
	}
}
