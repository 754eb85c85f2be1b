// Package configuration reads the scheduler's configuration in Kubernetes'
// format, a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1.
//
// Reading is strict: an unknown or repeated field, an unknown plugin, or a value
// out of range is an error that names the field, the value, and what is
// allowed. All of them are told at once. Fields that are about a connection or
// a process that is not there have no effect; Parse names them.
package configuration

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/services/scheduler/extender"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins"
	"navarch.dev/navarch/services/scheduler/strictjson"
)

// Kind is the kind of a configuration.
const Kind = "KubeSchedulerConfiguration"

// Parse reads a configuration from YAML or JSON. It has at least one profile,
// and every profile a name; what else is left open stays open. idle are the
// fields that are set and have no effect.
func Parse(data []byte) (config *configv1.KubeSchedulerConfiguration, idle []string, err error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, nil, fmt.Errorf("scheduler configuration: %w", err)
	}
	config = &configv1.KubeSchedulerConfiguration{}
	errs := strictjson.Decode(nil, asJSON, config)
	if wrong := checkType(config); len(wrong) > 0 { // nothing else can be said of another kind
		errs = append(errs, wrong...)
		return nil, nil, fmt.Errorf("scheduler configuration: %w", errs.ToAggregate())
	}
	setDefaults(config)
	errs = append(errs, validate(config)...)
	if len(errs) > 0 {
		return nil, nil, fmt.Errorf("scheduler configuration: %w", errs.ToAggregate())
	}
	return config, idleFields(config), nil
}

func checkType(c *configv1.KubeSchedulerConfiguration) field.ErrorList {
	var errs field.ErrorList
	version := configv1.SchemeGroupVersion.String()
	switch c.APIVersion {
	case version:
	case "":
		errs = append(errs, field.Required(field.NewPath("apiVersion"), "must be "+version))
	default:
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), c.APIVersion, []string{version}))
	}
	switch c.Kind {
	case Kind:
	case "":
		errs = append(errs, field.Required(field.NewPath("kind"), "must be "+Kind))
	default:
		errs = append(errs, field.NotSupported(field.NewPath("kind"), c.Kind, []string{Kind}))
	}
	return errs
}

// setDefaults gives a configuration without profiles the default one, and a
// single profile the default name.
func setDefaults(c *configv1.KubeSchedulerConfiguration) {
	if len(c.Profiles) == 0 {
		c.Profiles = []configv1.KubeSchedulerProfile{{}}
	}
	if len(c.Profiles) == 1 && c.Profiles[0].SchedulerName == nil {
		name := corev1.DefaultSchedulerName
		c.Profiles[0].SchedulerName = &name
	}
}

func validate(c *configv1.KubeSchedulerConfiguration) field.ErrorList {
	errs := validateProfiles(field.NewPath("profiles"), c.Profiles)
	if p := c.Parallelism; p != nil && *p < 1 {
		errs = append(errs, field.Invalid(field.NewPath("parallelism"), *p, "must be greater than 0"))
	}
	errs = append(errs, validatePercentage(field.NewPath("percentageOfNodesToScore"), c.PercentageOfNodesToScore)...)
	errs = append(errs, validateBackoff(c)...)
	errs = append(errs, validateElection(field.NewPath("leaderElection"), c)...)
	return append(errs, extender.Validate(field.NewPath("extenders"), c.Extenders)...)
}

func validateProfiles(path *field.Path, profiles []configv1.KubeSchedulerProfile) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[string]bool)
	var made []*framework.Profile
	for i := range profiles {
		at := path.Index(i)
		switch name := profiles[i].SchedulerName; {
		case name == nil || *name == "":
			errs = append(errs, field.Required(at.Child("schedulerName"), "must be set where there are several profiles, and not be empty"))
		case seen[*name]:
			errs = append(errs, field.Duplicate(at.Child("schedulerName"), *name))
		default:
			seen[*name] = true
		}
		errs = append(errs, validatePercentage(at.Child("percentageOfNodesToScore"), profiles[i].PercentageOfNodesToScore)...)
		profile, wrong := plugins.Profile(at, &profiles[i], 0, plugins.Environment{})
		errs = append(errs, wrong...)
		made = append(made, profile)
	}
	if len(errs) > 0 {
		return errs
	}
	if _, err := framework.NewProfiles(made...); err != nil {
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, err.Error()))
	}
	return errs
}

func validatePercentage(path *field.Path, p *int32) field.ErrorList {
	if p != nil && (*p < 0 || *p > 100) {
		return field.ErrorList{field.Invalid(path, *p, "must be from 1 to 100, or 0 to adapt to the size of the cluster")}
	}
	return nil
}
