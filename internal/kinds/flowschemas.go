package kinds

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func flowSchemaColumns() []Column {
	doc := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return columns(
		text("PriorityLevel", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"], func(s *flowcontrolv1.FlowSchema) string {
			return s.Spec.PriorityLevelConfiguration.Name
		}),
		figure("MatchingPrecedence", doc["matchingPrecedence"], func(s *flowcontrolv1.FlowSchema) int64 { return int64(s.Spec.MatchingPrecedence) }),
		text("DistinguisherMethod", doc["distinguisherMethod"], func(s *flowcontrolv1.FlowSchema) string {
			if s.Spec.DistinguisherMethod == nil {
				return none
			}
			return string(s.Spec.DistinguisherMethod.Type)
		}),
		ageColumn(),
		text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration", func(s *flowcontrolv1.FlowSchema) string {
			for _, c := range s.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					return string(c.Status)
				}
			}
			return "?"
		}),
	)
}

func flowSchemaStrategy() Strategy {
	return specStatus(
		func(s *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaSpec { return &s.Spec },
		func(s *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaStatus { return &s.Status },
		rules[*flowcontrolv1.FlowSchema]{
			defaults: func(s *flowcontrolv1.FlowSchema) { setDefault(&s.Spec.MatchingPrecedence, 1000) },
			validate: func(s *flowcontrolv1.FlowSchema) field.ErrorList {
				return append(validateFlowSchema(s.Name, &s.Spec, field.NewPath("spec")), fixedSpec(s, s.Spec)...)
			},
			validateStatus: func(s, _ *flowcontrolv1.FlowSchema) field.ErrorList {
				return eachCondition(s.Status.Conditions, func(c *flowcontrolv1.FlowSchemaCondition) string { return string(c.Type) })
			},
		})
}

func validateFlowSchema(name string, s *flowcontrolv1.FlowSchemaSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch precedence, where := s.MatchingPrecedence, at.Child("matchingPrecedence"); {
	case precedence <= 0:
		errs = append(errs, field.Invalid(where, precedence, "must be a positive value"))
	case precedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		errs = append(errs, field.Invalid(where, precedence, fmt.Sprintf("must not be greater than %d", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	case precedence == 1 && name != flowcontrolv1.FlowSchemaNameExempt:
		errs = append(errs, field.Invalid(where, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if by := s.DistinguisherMethod; by != nil {
		for _, err := range rule.Supported(by.Type, at.Child("distinguisherMethod", "type"),
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType) {
			err.BadValue = *by
			errs = append(errs, err)
		}
	}
	level := at.Child("priorityLevelConfiguration", "name")
	if s.PriorityLevelConfiguration.Name == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	} else {
		errs = append(errs, rule.Invalids(level, s.PriorityLevelConfiguration.Name, apivalidation.NameIsDNSSubdomain(s.PriorityLevelConfiguration.Name, false))...)
	}
	return append(errs, rule.Each(s.Rules, at.Child("rules"), validateFlowRule)...)
}

func validateFlowRule(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	return rule.Join(errs, rule.Each(r.Subjects, at.Child("subjects"), validateFlowSubject),
		rule.Each(r.ResourceRules, at.Child("resourceRules"), validateFlowResourceRule),
		rule.Each(r.NonResourceRules, at.Child("nonResourceRules"), validateFlowPathRule))
}

// validateFlowSubject checks a union: the member that the kind names must be
// there, and no other.
func validateFlowSubject(s *flowcontrolv1.Subject, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, member := range []struct {
		kind  flowcontrolv1.SubjectKind
		name  string
		set   bool
		check func(at *field.Path) field.ErrorList
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, func(at *field.Path) field.ErrorList {
			return validateFlowAccount(s.ServiceAccount, at)
		}},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil, func(at *field.Path) field.ErrorList {
			return rule.Required(s.User.Name, at.Child("name"))
		}},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, func(at *field.Path) field.ErrorList {
			return rule.Required(s.Group.Name, at.Child("name"))
		}},
	} {
		where := at.Child(member.name)
		switch {
		case s.Kind == member.kind && !member.set:
			errs = append(errs, field.Required(where, fmt.Sprintf("%s is required when subject kind is '%s'", member.name, member.kind)))
		case s.Kind == member.kind:
			errs = append(errs, member.check(where)...)
		case member.set:
			errs = append(errs, field.Forbidden(where, fmt.Sprintf("%s is forbidden when subject kind is not '%s'", member.name, member.kind)))
		}
	}
	kinds := []flowcontrolv1.SubjectKind{flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser}
	if !slices.Contains(kinds, s.Kind) {
		return field.ErrorList{field.NotSupported(at.Child("kind"), s.Kind, kinds)}
	}
	return errs
}

func validateFlowAccount(a *flowcontrolv1.ServiceAccountSubject, at *field.Path) field.ErrorList {
	errs := rule.Required(a.Name, at.Child("name"))
	if a.Name != "" && a.Name != flowcontrolv1.NameAll {
		errs = rule.Invalids(at.Child("name"), a.Name, apivalidation.ValidateServiceAccountName(a.Name, false))
	}
	if a.Namespace == "" {
		return append(errs, field.Required(at.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, rule.Invalids(at.Child("namespace"), a.Namespace, apivalidation.ValidateNamespaceName(a.Namespace, false))...)
}

// flowVerbs are the verbs that rules may name.
var flowVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func validateFlowVerbs(verbs []string, at *field.Path) field.ErrorList {
	errs := validateFlowList(verbs, at, "verbs must contain at least one value", "verbs")
	if len(errs) > 0 || slices.Contains(verbs, flowcontrolv1.VerbAll) {
		return errs
	}
	for _, verb := range verbs {
		if !slices.Contains(flowVerbs, verb) {
			return field.ErrorList{field.NotSupported(at, verbs, flowVerbs)}
		}
	}
	return nil
}

// validateFlowList checks that a list has values, and none beside a wildcard.
func validateFlowList(values []string, at *field.Path, required, what string) field.ErrorList {
	if len(values) == 0 {
		return field.ErrorList{field.Required(at, required)}
	}
	if len(values) > 1 && slices.Contains(values, "*") {
		return field.ErrorList{field.Invalid(at, values, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

func validateFlowResourceRule(r *flowcontrolv1.ResourcePolicyRule, at *field.Path) field.ErrorList {
	errs := rule.Join(validateFlowVerbs(r.Verbs, at.Child("verbs")),
		validateFlowList(r.APIGroups, at.Child("apiGroups"), "resource rules must supply at least one api group", "api groups"),
		validateFlowList(r.Resources, at.Child("resources"), "resource rules must supply at least one resource", "resources"))
	namespaces := at.Child("namespaces")
	if len(r.Namespaces) == 0 && r.ClusterScope {
		return errs
	}
	wrong := validateFlowList(r.Namespaces, namespaces, "resource rules that are not cluster scoped must supply at least one namespace", "namespaces")
	if len(wrong) > 0 || slices.Contains(r.Namespaces, flowcontrolv1.NamespaceEvery) {
		return append(errs, wrong...)
	}
	return append(errs, rule.Each(r.Namespaces, namespaces, func(ns *string, at *field.Path) field.ErrorList {
		var wrong field.ErrorList
		for _, message := range apivalidation.ValidateNamespaceName(*ns, false) {
			wrong = append(wrong, field.Invalid(at, *ns, "each member of this list must be '*' or a DNS-1123 label; "+message))
		}
		return wrong
	})...)
}

func validateFlowPathRule(r *flowcontrolv1.NonResourcePolicyRule, at *field.Path) field.ErrorList {
	errs, paths := validateFlowVerbs(r.Verbs, at.Child("verbs")), at.Child("nonResourceURLs")
	wrong := validateFlowList(r.NonResourceURLs, paths, "nonResourceURLs must contain at least one value", "non-resource URLs")
	if len(wrong) > 0 || slices.Contains(r.NonResourceURLs, flowcontrolv1.NonResourceAll) {
		return append(errs, wrong...)
	}
	return append(errs, rule.Each(r.NonResourceURLs, paths, func(path *string, at *field.Path) field.ErrorList {
		if message := flowPathProblem(*path); message != "" {
			return field.ErrorList{field.Invalid(at, *path, message)}
		}
		return nil
	})...)
}

func flowPathProblem(path string) string {
	stars := strings.Count(path, "*")
	switch {
	case path == "":
		return "must not be empty"
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(path, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}

// eachCondition checks the types of a status' conditions: each must be there,
// and no two may be the same.
func eachCondition[C any](conditions []C, typeOf func(*C) string) field.ErrorList {
	seen := rule.Seen[string]{}
	return rule.Each(conditions, field.NewPath("status", "conditions"), func(c *C, at *field.Path) field.ErrorList {
		name := typeOf(c)
		if name == "" {
			return rule.Required(name, at.Child("type"))
		}
		return seen.Once(name, at.Child("type"))
	})
}
