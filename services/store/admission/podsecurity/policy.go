package podsecurity

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The labels of a namespace that say by which standards its pods are judged.
const (
	labelPrefix  = "pod-security.kubernetes.io/"
	enforceLabel = labelPrefix + "enforce"
	auditLabel   = labelPrefix + "audit"
	warnLabel    = labelPrefix + "warn"
	versionOf    = "-version"
)

// The annotations of audited requests that bring in pods.
const (
	EnforcedAnnotation   = labelPrefix + "enforce-policy"
	ViolationsAnnotation = labelPrefix + "audit-violations"
	ErrorAnnotation      = labelPrefix + "error"
)

// Policy is what a namespace demands.
type Policy struct {
	// Enforce is the standard without which no pod is let in.
	Enforce Standard
	// Audit is the standard whose violations are to be recorded.
	Audit Standard
	// Warn is the standard of whose violations users are told.
	Warn Standard
}

// Allows says whether the policy has no say about any pod.
func (p Policy) Allows() bool {
	return p.Enforce.Level == Privileged && p.Audit.Level == Privileged && p.Warn.Level == Privileged
}

// Tightens says whether a policy enforces what old does not.
func (p Policy) Tightens(old Policy) bool { return old.Enforce.laxerThan(p.Enforce) }

// PolicyOf reads a namespace's labels, and says what is wrong with them. A
// label that cannot be read enforces the strictest standard, and neither warns
// nor records.
func PolicyOf(labels map[string]string) (Policy, field.ErrorList) {
	open := Standard{Privileged, Latest}
	p := Policy{Enforce: open, Audit: open, Warn: open}
	var errs field.ErrorList
	read := func(label string, to *Standard, unreadable Level) (level, version bool) {
		if value, ok := labels[label]; ok {
			var err error
			if to.Level, err = parseLevel(value); err != nil {
				to.Level = unreadable
				errs = append(errs, wrongLabel(label, value, err))
			} else {
				level = true
			}
		}
		if value, ok := labels[label+versionOf]; ok {
			version = true
			var err error
			if to.Version, err = parseVersion(value); err != nil {
				errs = append(errs, wrongLabel(label+versionOf, value, err))
			}
		}
		return level, version
	}
	enforces, _ := read(enforceLabel, &p.Enforce, Restricted)
	read(auditLabel, &p.Audit, Privileged)
	_, warnVersion := read(warnLabel, &p.Warn, Privileged)
	// Who enforces and does not speak of warnings warns of the same: templates
	// are not refused, and their authors should know what awaits the pods.
	if _, warns := labels[warnLabel]; !warns && enforces && p.Enforce.Level.strictness() > p.Warn.Level.strictness() {
		p.Warn.Level = p.Enforce.Level
		if !warnVersion {
			p.Warn.Version = p.Enforce.Version
		}
	}
	return p, errs
}

func wrongLabel(label, value string, err error) *field.Error {
	return field.Invalid(field.NewPath("metadata", "labels").Key(label), value, err.Error())
}
