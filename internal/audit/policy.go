package audit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Policy says what is recorded of which requests: audit.k8s.io/v1 Policy. The
// first rule that matches a request decides; without one, nothing is recorded.
type Policy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Rules []Rule `json:"rules"`
	// OmitStages are stages of which there are no events, whatever a rule says.
	OmitStages []Stage `json:"omitStages,omitempty"`
	// OmitManagedFields leaves managedFields out of objects where a rule does not
	// say.
	OmitManagedFields bool `json:"omitManagedFields,omitempty"`
}

// Rule matches requests that fit each of its lists which is not empty.
type Rule struct {
	Level Level `json:"level"`
	// Users and UserGroups are those of whoever was authenticated, not of whom
	// they act as.
	Users      []string `json:"users,omitempty"`
	UserGroups []string `json:"userGroups,omitempty"`
	Verbs      []string `json:"verbs,omitempty"`
	// Resources and Namespaces make the rule one about resources. The namespace
	// "" is that of resources that have none.
	Resources  []GroupResources `json:"resources,omitempty"`
	Namespaces []string         `json:"namespaces,omitempty"`
	// NonResourceURLs are paths; one may end in *.
	NonResourceURLs   []string `json:"nonResourceURLs,omitempty"`
	OmitStages        []Stage  `json:"omitStages,omitempty"`
	OmitManagedFields *bool    `json:"omitManagedFields,omitempty"`
}

// GroupResources are resources of a group, all of them if none is named.
type GroupResources struct {
	// Group is "" for the core group, "*" for any.
	Group string `json:"group,omitempty"`
	// Resources are "pods", "pods/log", "pods/*", "*/scale" or "*".
	Resources []string `json:"resources,omitempty"`
	// ResourceNames narrow Resources down to objects of these names.
	ResourceNames []string `json:"resourceNames,omitempty"`
}

// LoadPolicy reads a policy from a file. Errors name the field and its value.
func LoadPolicy(file string) (*Policy, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p, err := ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// ParsePolicy reads a policy from YAML or JSON.
func ParsePolicy(text []byte) (*Policy, error) {
	var p Policy
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		return nil, fmt.Errorf("read the audit policy: %w", err)
	}
	if err := p.validate().ToAggregate(); err != nil {
		return nil, fmt.Errorf("the audit policy is invalid: %w", err)
	}
	return &p, nil
}

var (
	levels = []Level{None, Metadata, Request, RequestResponse}
	stages = []Stage{RequestReceived, ResponseStarted, ResponseComplete, Panic}
)

func (p *Policy) validate() field.ErrorList {
	var errs field.ErrorList
	if p.APIVersion != apiVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), p.APIVersion, []string{apiVersion}))
	}
	if p.Kind != "Policy" {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), p.Kind, []string{"Policy"}))
	}
	if len(p.Rules) == 0 {
		errs = append(errs, field.Required(field.NewPath("rules"), "without a rule nothing is recorded"))
	}
	errs = append(errs, validateStages(p.OmitStages, field.NewPath("omitStages"))...)
	for i := range p.Rules {
		errs = append(errs, p.Rules[i].validate(field.NewPath("rules").Index(i))...)
	}
	return errs
}

func (r *Rule) validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case r.Level == "":
		errs = append(errs, field.Required(at.Child("level"), fmt.Sprintf("one of %q", levels)))
	case !slices.Contains(levels, r.Level):
		errs = append(errs, field.NotSupported(at.Child("level"), r.Level, levels))
	}
	for i, url := range r.NonResourceURLs {
		if err := validatePath(url); err != nil {
			errs = append(errs, field.Invalid(at.Child("nonResourceURLs").Index(i), url, err.Error()))
		}
	}
	for i, resources := range r.Resources {
		errs = append(errs, resources.validate(at.Child("resources").Index(i))...)
	}
	if len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0 {
		errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "a rule is about resources or about other paths, not about both"))
	}
	return append(errs, validateStages(r.OmitStages, at.Child("omitStages"))...)
}

func validatePath(path string) error {
	switch star := strings.Index(path, "*"); {
	case path == "*":
		return nil
	case !strings.HasPrefix(path, "/"):
		return errors.New("must begin with a /, or be *")
	case star >= 0 && star != len(path)-1:
		return errors.New("* may only be the last character")
	}
	return nil
}

func (g *GroupResources) validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if g.Group != "" && g.Group != "*" {
		for _, why := range validation.IsDNS1123Subdomain(g.Group) {
			errs = append(errs, field.Invalid(at.Child("group"), g.Group, why))
		}
	}
	if len(g.ResourceNames) > 0 && len(g.Resources) == 0 {
		errs = append(errs, field.Invalid(at.Child("resourceNames"), g.ResourceNames, "needs resources, of which these are names"))
	}
	return errs
}

func validateStages(given []Stage, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, stage := range given {
		if !slices.Contains(stages, stage) {
			errs = append(errs, field.NotSupported(at.Index(i), stage, stages))
		}
	}
	return errs
}
