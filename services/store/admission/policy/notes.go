package policy

import (
	"encoding/json"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"navarch.dev/navarch/services/store/admission"
)

const (
	// failuresKey is the annotation with what does not hold and is only audited.
	failuresKey = "validation.policy.admission.k8s.io/validation_failure"
	// maxFailures is how many of them it holds.
	maxFailures = 50
	// maxNote is the most bytes of a value that a policy notes.
	maxNote = 10 << 10
)

// failure is something that does not hold, as the audit log has it.
type failure struct {
	Message           string                         `json:"message"`
	Policy            string                         `json:"policy"`
	Binding           string                         `json:"binding"`
	ExpressionIndex   int                            `json:"expressionIndex"`
	ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
}

// failures are those of a request, of all policies.
type failures struct{ all []failure }

func (f *failures) add(one failure) {
	if len(f.all) < maxFailures {
		f.all = append(f.all, one)
	}
}

// note adds the failures to the request's annotations.
func (f *failures) note(r *admission.Request) {
	if len(f.all) == 0 || !r.Annotations.Wanted() {
		return
	}
	if text, err := json.Marshal(f.all); err == nil { // strings and numbers can be encoded
		r.Annotations.Add(failuresKey, string(text))
	}
}

// notes are the values that a policy notes about a request, by their keys: one for
// each parameter that makes another.
type notes struct{ values map[string][]string }

func (n *notes) take(key, value string) {
	value = strings.TrimSpace(value)
	if len(value) > maxNote {
		value = strings.ToValidUTF8(value[:maxNote], "")
	}
	if value == "" || slices.Contains(n.values[key], value) {
		return
	}
	if n.values == nil {
		n.values = make(map[string][]string)
	}
	n.values[key] = append(n.values[key], value)
}

// add adds what a policy notes to the request's annotations.
func (n *notes) add(r *admission.Request, policy string) {
	for key, values := range n.values {
		r.Annotations.Add(policy+"/"+key, strings.Join(values, ", "))
	}
}
