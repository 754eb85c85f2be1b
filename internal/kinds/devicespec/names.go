// Package devicespec validates and defaults what the kinds of resource.k8s.io
// say about devices: the claims that ask for them (claims.go) and what they got
// (allocations.go), and the slices in which drivers publish them (slices.go,
// devices.go, capacities.go). The rules and their words are Kubernetes'.
package devicespec

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// ValidateDriver returns what is wrong with a driver's name.
func ValidateDriver(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := tooLong(len(name), resourcev1.DriverNameMaxLength, at)
	return append(errs, rule.Invalids(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

// ValidateAnyDriver is ValidateDriver in words which say that the case does not
// matter, as Kubernetes has them for whatever only refers to a driver.
func ValidateAnyDriver(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	//nolint:staticcheck // Deprecated for new fields, this one has always allowed both cases.
	form := content.IsDNS1123SubdomainCaseless(name)
	return rule.Join(tooLong(len(name), resourcev1.DriverNameMaxLength, at), rule.Invalids(at, name, form))
}

// ValidatePool returns what is wrong with a pool's name: names of a DNS
// subdomain's form, separated by slashes.
func ValidatePool(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := tooLong(len(name), resourcev1.PoolNameMaxLength, at)
	for part := range strings.SplitSeq(name, "/") {
		errs = append(errs, rule.Form(part, at, validation.IsDNS1123Subdomain)...)
	}
	return errs
}

// ValidateDevice returns what is wrong with a device's name.
func ValidateDevice(name string, at *field.Path) field.ErrorList { return label(name, at) }

func label(name string, at *field.Path) field.ErrorList {
	return rule.Form(name, at, validation.IsDNS1123Label)
}

func tooLong(length, most int, at *field.Path) field.ErrorList {
	if length <= most {
		return nil
	}
	return field.ErrorList{field.TooLong(at, "", most)}
}

// qualifiedName: an attribute or capacity is named by an identifier, which may
// follow a domain and a slash.
func qualifiedName(name string, at *field.Path) field.ErrorList {
	domain, id, qualified := strings.Cut(name, "/")
	if !qualified {
		return identifier(name, at)
	}
	var errs field.ErrorList
	if domain == "" {
		errs = append(errs, field.Invalid(at, "", "the domain must not be empty"))
	} else {
		errs = ValidateDriver(domain, at)
	}
	if id == "" {
		return append(errs, field.Invalid(at, "", "the name must not be empty"))
	}
	return append(errs, identifier(id, at)...)
}

// domainName is a qualifiedName that must have a domain.
func domainName(name resourcev1.FullyQualifiedName, at *field.Path) field.ErrorList {
	errs := qualifiedName(string(name), at)
	if !strings.Contains(string(name), "/") {
		errs = append(errs, field.Invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash"))
	}
	return errs
}

func identifier(id string, at *field.Path) field.ErrorList {
	return append(tooLong(len(id), resourcev1.DeviceMaxIDLength, at), rule.Invalids(at, id, content.IsCIdentifier(id))...)
}

func shareID[T ~string](id T, at *field.Path) field.ErrorList {
	if err := uuid.Validate(string(id)); err != nil {
		return field.ErrorList{field.Invalid(at, id, fmt.Sprintf("error validating uid: %v", err))}
	}
	if len(id) != 36 || string(id) != strings.ToLower(string(id)) {
		return field.ErrorList{field.Invalid(at, id,
			"uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")}
	}
	return nil
}

// jsonObject: what is handed to a driver as it is must be a JSON object.
func jsonObject(raw []byte, most int, at *field.Path) field.ErrorList {
	switch {
	case len(raw) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(raw) > most:
		return field.ErrorList{field.TooLong(at, "", most)}
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return field.ErrorList{field.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))}
	}
	if value == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	if _, ok := value.(map[string]any); !ok {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "must be a valid JSON object")}
	}
	return nil
}

// list applies a rule to every item of a list that is not too long; the items
// of one that is are not looked at.
func list[T any](items []T, most int, at *field.Path, check func(item *T, at *field.Path) field.ErrorList) field.ErrorList {
	if errs := rule.AtMost(len(items), most, at); len(errs) > 0 {
		return errs
	}
	return rule.Each(items, at, check)
}

// set is list for items of which no two may have the same key.
func set[T any, K comparable](items []T, most int, at *field.Path, key func(*T) K, check func(item *T, at *field.Path) field.ErrorList) field.ErrorList {
	seen := rule.Seen[K]{}
	return list(items, most, at, func(item *T, at *field.Path) field.ErrorList {
		return rule.Join(check(item, at), seen.Once(key(item), at))
	})
}

// unique is set for strings.
func unique(items []string, most int, at *field.Path, check func(item string, at *field.Path) field.ErrorList) field.ErrorList {
	return set(items, most, at, func(s *string) string { return *s }, func(s *string, at *field.Path) field.ErrorList { return check(*s, at) })
}

// bindingConditions: a device that is bound late says by which conditions that
// is known to have succeeded and failed.
func bindingConditions(conditions, failures []string, at *field.Path) field.ErrorList {
	ready, failed := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	errs := rule.Join(
		unique(conditions, resourcev1.BindingConditionsMaxSize, ready, labelKey),
		unique(failures, resourcev1.BindingFailureConditionsMaxSize, failed, labelKey))
	for i, name := range failures {
		if slices.Contains(conditions, name) {
			errs = append(errs, field.Invalid(failed.Index(i), name, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	switch {
	case len(conditions) == 0 && len(failures) > 0:
		errs = append(errs, field.Invalid(ready, conditions, "bindingConditions are required to use bindingFailureConditions"))
	case len(failures) == 0 && len(conditions) > 0:
		errs = append(errs, field.Invalid(failed, failures, "bindingFailureConditions are required to use bindingConditions"))
	}
	return errs
}

func labelKey(name string, at *field.Path) field.ErrorList { return rule.Qualified(name, at) }
