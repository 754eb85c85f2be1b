package audit

import (
	"slices"
	"strings"

	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// verdict is what a policy says about a request.
type verdict struct {
	level Level
	// omitted says of which stages there are no events.
	omitted           func(Stage) bool
	omitManagedFields bool
}

// records says whether a level has what another one adds.
func (v verdict) records(level Level) bool {
	return slices.Index(levels, v.level) >= slices.Index(levels, level)
}

// judge returns what is recorded of a user's request.
func (p *Policy) judge(user identity.Identity, asked *storev1.AuthorizeRequest) verdict {
	for i := range p.Rules {
		rule := &p.Rules[i]
		if !rule.matches(user, asked) {
			continue
		}
		v := verdict{level: rule.Level, omitManagedFields: p.OmitManagedFields, omitted: func(s Stage) bool {
			return slices.Contains(p.OmitStages, s) || slices.Contains(rule.OmitStages, s)
		}}
		if rule.OmitManagedFields != nil {
			v.omitManagedFields = *rule.OmitManagedFields
		}
		return v
	}
	return verdict{level: None}
}

func (r *Rule) matches(user identity.Identity, asked *storev1.AuthorizeRequest) bool {
	switch {
	case !includes(r.Users, user.Name), !includes(r.Verbs, asked.GetVerb()):
		return false
	case len(r.UserGroups) > 0 && !slices.ContainsFunc(user.Groups, func(group string) bool { return slices.Contains(r.UserGroups, group) }):
		return false
	case len(r.Namespaces)+len(r.Resources) > 0:
		return asked.GetResource() != nil && includes(r.Namespaces, asked.GetNamespace()) && r.matchesResource(asked)
	case len(r.NonResourceURLs) > 0:
		return asked.GetResource() == nil && slices.ContainsFunc(r.NonResourceURLs, func(pattern string) bool { return matchesPath(pattern, asked.GetPath()) })
	}
	return true
}

// includes says whether a list has a value; an empty one has any.
func includes(list []string, value string) bool {
	return len(list) == 0 || slices.Contains(list, value)
}

func matchesPath(pattern, path string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == path || open && strings.HasPrefix(path, prefix)
}

func (r *Rule) matchesResource(asked *storev1.AuthorizeRequest) bool {
	return len(r.Resources) == 0 || slices.ContainsFunc(r.Resources, func(g GroupResources) bool { return g.matches(asked) })
}

func (g *GroupResources) matches(asked *storev1.AuthorizeRequest) bool {
	switch {
	case g.Group != "*" && g.Group != asked.GetResource().GetGroup():
		return false
	case len(g.Resources) == 0:
		return true
	case !includes(g.ResourceNames, asked.GetName()):
		return false
	}
	resource, subresource := asked.GetResource().GetResource(), asked.GetSubresource()
	whole := resource
	if subresource != "" {
		whole += "/" + subresource
	}
	return slices.ContainsFunc(g.Resources, func(pattern string) bool {
		// pods/* is pods as well as what is below it.
		return pattern == "*" || pattern == whole || pattern == resource+"/*" || subresource != "" && pattern == "*/"+subresource
	})
}
