// Package rule holds the words in which the kinds say what holds for their
// fields. A rule is a function over a value and its path that returns what is
// wrong with it, every cause at once, in the terms that users of Kubernetes
// know. Rules for single values (OneOf, Form, NonNegative) are applied to
// lists (Each), optional values (Optional) and unions (Members), and put side
// by side (Join), so that a kind's validation reads like a table:
//
//	return rule.Join(
//		rule.OneOf(s.Type, at.Child("type"), Recreate, RollingUpdate),
//		rule.NonNegative(s.Replicas, at.Child("replicas")),
//		rule.Each(s.Ports, at.Child("ports"), validatePort),
//	)
package rule

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Join puts what several rules found side by side.
func Join(lists ...field.ErrorList) field.ErrorList { return slices.Concat(lists...) }

// Each applies a rule to every item of a list.
func Each[T any](items []T, at *field.Path, check func(item *T, at *field.Path) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		errs = append(errs, check(&items[i], at.Index(i))...)
	}
	return errs
}

// EachKey applies a rule to every entry of a map, in the order of the keys.
func EachKey[K ~string, V any](items map[K]V, at *field.Path, check func(key K, value V, at *field.Path) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(items)) {
		errs = append(errs, check(key, items[key], at.Key(string(key)))...)
	}
	return errs
}

// Optional applies a rule to a value that may be absent.
func Optional[T any](value *T, at *field.Path, check func(value T, at *field.Path) field.ErrorList) field.ErrorList {
	if value == nil {
		return nil
	}
	return check(*value, at)
}

// OneOf says that a value must be there, and one of the supported ones.
func OneOf[T ~string](value T, at *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return Supported(value, at, supported...)
}

// Supported says that a value must be one of the supported ones; the empty
// value is as unsupported as any other.
func Supported[T ~string](value T, at *field.Path, supported ...T) field.ErrorList {
	if slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, supported)}
}

// OptionalOf says that a value that is there must be one of the supported ones.
func OptionalOf[T ~string](value *T, at *field.Path, supported ...T) field.ErrorList {
	if value == nil {
		return nil
	}
	return Supported(*value, at, supported...)
}

// Required says that a string must not be empty.
func Required[T ~string](value T, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

// Needs says that none of the fields may be empty, given as pairs of a name
// and a value.
func Needs(at *field.Path, fields ...string) field.ErrorList {
	var errs field.ErrorList
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i+1] == "" {
			errs = append(errs, field.Required(at.Child(fields[i]), ""))
		}
	}
	return errs
}

// Flag is a field and whether it is set.
type Flag struct {
	Field string
	Set   bool
}

// Set makes a Flag.
func Set(name string, set bool) Flag { return Flag{Field: name, Set: set} }

// Forbid says that none of the fields may be set, and why.
func Forbid(at *field.Path, why string, fields ...Flag) field.ErrorList {
	var errs field.ErrorList
	for _, f := range fields {
		if f.Set {
			errs = append(errs, field.Forbidden(at.Child(f.Field), why))
		}
	}
	return errs
}

// Invalids makes a cause of each message about a value.
func Invalids(at *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(at, value, m))
	}
	return errs
}

// Form says that a string must have a form: be a DNS label, for example.
func Form[T ~string](value T, at *field.Path, form func(string) []string) field.ErrorList {
	return Invalids(at, value, form(string(value)))
}

// FormIfSet is Form for a string that may be empty.
func FormIfSet[T ~string](value T, at *field.Path, form func(string) []string) field.ErrorList {
	if value == "" {
		return nil
	}
	return Form(value, at, form)
}

// Given is Form for a string that must not be empty, said in fewer words if it
// is.
func Given[T ~string](value T, at *field.Path, form func(string) []string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return Form(value, at, form)
}

// Qualified says that a string must be a qualified name: example.com/name.
func Qualified[T ~string](value T, at *field.Path) field.ErrorList {
	return Form(value, at, validation.IsQualifiedName)
}

// Selector says that a label selector must be well formed; nil is.
func Selector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
}

// NonNegative says that a number must not be below zero; nil is fine.
func NonNegative[N int32 | int64](value *N, at *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return apivalidation.ValidateNonnegativeField(int64(*value), at)
}

// Positive says that a number must be above zero; nil is fine.
func Positive[N int32 | int64](value *N, at *field.Path) field.ErrorList {
	if value == nil || *value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *value, "must be greater than 0")}
}

// Between says that a number must be in a range, both ends included.
func Between[N int32 | int64](value, low, high N, at *field.Path) field.ErrorList {
	if value >= low && value <= high {
		return nil
	}
	return field.ErrorList{field.Invalid(at, value, validation.InclusiveRangeError(int(low), int(high)))}
}

// Port says that a number must be one that a port can have.
func Port(port int32, at *field.Path) field.ErrorList {
	return Invalids(at, port, validation.IsValidPortNum(int(port)))
}

// PositiveQuantity says that a quantity must be above zero.
func PositiveQuantity(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.String(), "must be greater than zero")}
}

// AtMost says how many items a list may have.
func AtMost(n, most int, at *field.Path) field.ErrorList {
	if n <= most {
		return nil
	}
	return field.ErrorList{field.TooMany(at, n, most)}
}

// Immutable says that a value must stay as it is.
func Immutable(value, old any, at *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(value, old, at)
}

// Frozen is Immutable in the words of the rules that are declared with the API's types,
// which do not show the value.
func Frozen(value, old any, at *field.Path) field.ErrorList {
	errs := Immutable(value, old, at)
	for _, err := range errs {
		err.BadValue = nil
	}
	return errs
}

// Kept says, in the words of declared rules too, that what is set must stay.
func Kept(value, old any, at *field.Path) field.ErrorList {
	switch {
	case reflect.ValueOf(old).IsZero():
		return nil
	case reflect.ValueOf(value).IsZero():
		return field.ErrorList{field.Invalid(at, nil, "field cannot be cleared once set")}
	case len(Immutable(value, old, at)) > 0:
		return field.ErrorList{field.Invalid(at, nil, "field cannot be modified once set")}
	}
	return nil
}

// Seen remembers what must not come twice.
type Seen[K comparable] map[K]struct{}

// Once says that a key must not have come before.
func (s Seen[K]) Once(key K, at *field.Path) field.ErrorList {
	if _, twice := s[key]; twice {
		return field.ErrorList{field.Duplicate(at, key)}
	}
	s[key] = struct{}{}
	return nil
}

// Has says whether a key has come.
func (s Seen[K]) Has(key K) bool {
	_, ok := s[key]
	return ok
}

// Members returns the names of the members of a union that are set, as JSON
// names them, in the order of the struct. The union is a pointer to a struct
// of pointers, such as a VolumeSource.
func Members(union any) []string {
	v := reflect.ValueOf(union).Elem()
	var names []string
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

// OneMember says that exactly one member of a union must be set; check is
// given the first that is.
func OneMember(set []string, at *field.Path, none, more string, check func(name string, at *field.Path) field.ErrorList) field.ErrorList {
	if len(set) == 0 {
		return field.ErrorList{field.Required(at, none)}
	}
	errs := check(set[0], at.Child(set[0]))
	for _, name := range set[1:] {
		errs = append(errs, field.Forbidden(at.Child(name), more))
	}
	return errs
}

// Unchanged drops the causes that the object as it was stored has as well, so
// that a rule that is newer than an object does not keep it from being
// changed in other ways.
func Unchanged(errs, before field.ErrorList) field.ErrorList {
	known := make(map[string]struct{}, len(before))
	for _, err := range before {
		known[err.Error()] = struct{}{}
	}
	return slices.DeleteFunc(errs, func(err *field.Error) bool {
		_, old := known[err.Error()]
		return old
	})
}
