// Package matching says which requests a FlowSchema is about, as Kubernetes does.
// Rules are taken apart once, so that a request is matched without an
// allocation.
package matching

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"navarch.dev/navarch/services/store/access"
)

// Schema is the rules of a FlowSchema.
type Schema []rule

// rule is one rule: whose requests, for which resources, for which paths.
type rule struct {
	subjects  subjects
	resources []resourceRule
	paths     []pathRule
}

// subjects are users by their names, groups and service accounts.
type subjects struct {
	anybody       bool
	users, groups []string
	// namespaces are those of which all service accounts are meant, as their
	// users' names begin.
	namespaces []string
}

type resourceRule struct {
	verbs, groups, resources, namespaces list
	clusterScope                         bool
}

type pathRule struct{ verbs, paths list }

// list is a list of texts in which "*" is any.
type list struct {
	any    bool
	values []string
}

// New takes the rules of a FlowSchema apart.
func New(spec *flowcontrolv1.FlowSchemaSpec) Schema {
	schema := make(Schema, len(spec.Rules))
	for i, r := range spec.Rules {
		schema[i].subjects = newSubjects(r.Subjects)
		for _, rr := range r.ResourceRules {
			schema[i].resources = append(schema[i].resources, resourceRule{
				newList(rr.Verbs), newList(rr.APIGroups), newList(rr.Resources), newList(rr.Namespaces), rr.ClusterScope,
			})
		}
		for _, nr := range r.NonResourceRules {
			schema[i].paths = append(schema[i].paths, pathRule{newList(nr.Verbs), newList(nr.NonResourceURLs)})
		}
	}
	return schema
}

// accountPrefix begins the names of service accounts' users.
const accountPrefix = "system:serviceaccount:"

func newSubjects(from []flowcontrolv1.Subject) subjects {
	var s subjects
	for _, subject := range from {
		switch {
		case subject.User != nil && subject.Kind == flowcontrolv1.SubjectKindUser:
			s.anybody = s.anybody || subject.User.Name == flowcontrolv1.NameAll
			s.users = append(s.users, subject.User.Name)
		case subject.Group != nil && subject.Kind == flowcontrolv1.SubjectKindGroup:
			s.anybody = s.anybody || subject.Group.Name == flowcontrolv1.NameAll
			s.groups = append(s.groups, subject.Group.Name)
		case subject.ServiceAccount != nil && subject.Kind == flowcontrolv1.SubjectKindServiceAccount:
			prefix := accountPrefix + subject.ServiceAccount.Namespace + ":"
			if subject.ServiceAccount.Name == flowcontrolv1.NameAll {
				s.namespaces = append(s.namespaces, prefix)
			} else {
				s.users = append(s.users, prefix+subject.ServiceAccount.Name)
			}
		}
	}
	return s
}

func newList(values []string) list { return list{slices.Contains(values, "*"), values} }

// Matches says whether the schema is about a request.
func (s Schema) Matches(a *access.Attributes) bool {
	for i := range s {
		if r := &s[i]; r.subjects.match(a) && r.match(a) {
			return true
		}
	}
	return false
}

func (s *subjects) match(a *access.Attributes) bool {
	if s.anybody || slices.Contains(s.users, a.User.Name) {
		return true
	}
	for _, group := range s.groups {
		if slices.Contains(a.User.Groups, group) {
			return true
		}
	}
	for _, prefix := range s.namespaces {
		if strings.HasPrefix(a.User.Name, prefix) {
			return true
		}
	}
	return false
}

func (r *rule) match(a *access.Attributes) bool {
	if a.Path != "" {
		return slices.ContainsFunc(r.paths, func(p pathRule) bool { return p.match(a) })
	}
	for i := range r.resources {
		if r.resources[i].match(a) {
			return true
		}
	}
	return false
}

func (r *resourceRule) match(a *access.Attributes) bool {
	if !r.verbs.has(a.Verb) || !r.groups.has(a.Group) || !r.ofResource(a) {
		return false
	}
	if a.Namespace == "" {
		return r.clusterScope
	}
	return r.namespaces.has(a.Namespace)
}

// ofResource compares "resource" or "resource/subresource".
func (r *resourceRule) ofResource(a *access.Attributes) bool {
	if r.resources.any {
		return true
	}
	for _, want := range r.resources.values {
		resource, subresource, _ := strings.Cut(want, "/")
		if resource == a.Resource && subresource == a.Subresource {
			return true
		}
	}
	return false
}

// match compares paths: "/healthz" is also what is below it, as is "/healthz/*".
func (p pathRule) match(a *access.Attributes) bool {
	if !p.verbs.has(a.Verb) {
		return false
	}
	if p.paths.has(a.Path) {
		return true
	}
	for _, want := range p.paths.values {
		below := strings.TrimSuffix(strings.TrimSuffix(want, "*"), "/")
		if len(a.Path) > len(below) && a.Path[len(below)] == '/' && strings.HasPrefix(a.Path, below) {
			return true
		}
	}
	return false
}

func (l list) has(value string) bool { return l.any || slices.Contains(l.values, value) }
