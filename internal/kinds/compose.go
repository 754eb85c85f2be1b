package kinds

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rules are a kind's own rules over its own Go type. The combinators below
// turn them into a Strategy; every field may be nil.
type rules[O Object] struct {
	create         func(obj O)
	update         func(obj, old O)
	statusUpdate   func(obj, old O)
	defaults       func(obj O)
	canonicalize   func(obj O)
	validate       func(obj O) field.ErrorList
	validateCreate func(obj O) field.ErrorList
	validateUpdate func(obj, old O) field.ErrorList
	validateStatus func(obj, old O) field.ErrorList
	parts          map[string]Part
	warnings       func(obj O) []string
	statusWarnings func(obj O) []string
	grace          func(obj O) *int64
}

// plain is the strategy of a kind that has neither spec nor status: what is
// written is what is kept.
func plain[O Object](r rules[O]) Strategy {
	return Strategy{
		PrepareForCreate:       one(r.create),
		PrepareForUpdate:       two(r.update),
		PrepareForStatusUpdate: two(r.statusUpdate),
		Default:                one(r.defaults),
		Canonicalize:           one(r.canonicalize),
		Validate:               check(r.validate),
		ValidateCreate:         check(r.validateCreate),
		Parts:                  r.parts,
		ValidateUpdate:         compare(r.validateUpdate),
		ValidateStatusUpdate:   compare(r.validateStatus),
		Warnings:               warn(r.warnings),
		StatusWarnings:         tellStatus(r.statusWarnings),
		GracePeriod:            measure(r.grace),
	}
}

// specOnly is the strategy of a kind whose spec counts generations and that
// has no status.
func specOnly[O Object, S any](spec func(O) *S, r rules[O]) Strategy {
	s := plain(r)
	s.SpecChanged = changed(spec)
	return s
}

// statusOnly is the strategy of a kind that has a status but counts no
// generations.
func statusOnly[O Object, S, T any](spec func(O) *S, status func(O) *T, r rules[O]) Strategy {
	s := specStatus(spec, status, r)
	s.SpecChanged = nil
	return s
}

// specStatus is the strategy of the usual kind: users write the spec,
// controllers write the status, neither can change the other's part, and
// metadata.generation counts the changes of the spec.
func specStatus[O Object, S, T any](spec func(O) *S, status func(O) *T, r rules[O]) Strategy {
	create, update, statusUpdate := r.create, r.update, r.statusUpdate
	r.create = func(obj O) {
		*status(obj) = *new(T)
		run1(create, obj)
	}
	r.update = func(obj, old O) {
		*status(obj) = *status(old)
		run2(update, obj, old)
	}
	r.statusUpdate = func(obj, old O) {
		*spec(obj) = *spec(old)
		keepMeta(obj, old)
		run2(statusUpdate, obj, old)
	}
	s := plain(r)
	s.SpecChanged = changed(spec)
	return s
}

// keepMeta restores the metadata that decides what becomes of an object. A
// status write may still annotate it.
func keepMeta(obj, old Object) {
	obj.SetLabels(old.GetLabels())
	obj.SetOwnerReferences(old.GetOwnerReferences())
	obj.SetFinalizers(old.GetFinalizers())
}

func changed[O Object, S any](spec func(O) *S) func(obj, old Object) bool {
	return func(obj, old Object) bool {
		return !equality.Semantic.DeepEqual(spec(obj.(O)), spec(old.(O)))
	}
}

func run1[O any](f func(O), obj O) {
	if f != nil {
		f(obj)
	}
}

func run2[O any](f func(O, O), obj, old O) {
	if f != nil {
		f(obj, old)
	}
}

func one[O Object](f func(O)) func(Object) {
	if f == nil {
		return nil
	}
	return func(obj Object) { f(obj.(O)) }
}

func two[O Object](f func(O, O)) func(obj, old Object) {
	if f == nil {
		return nil
	}
	return func(obj, old Object) { f(obj.(O), old.(O)) }
}

func check[O Object](f func(O) field.ErrorList) func(Object) field.ErrorList {
	if f == nil {
		return nil
	}
	return func(obj Object) field.ErrorList { return f(obj.(O)) }
}

func compare[O Object](f func(O, O) field.ErrorList) func(obj, old Object) field.ErrorList {
	if f == nil {
		return nil
	}
	return func(obj, old Object) field.ErrorList { return f(obj.(O), old.(O)) }
}

func warn[O Object](f func(O) []string) func(context.Context, Object) []string {
	if f == nil {
		return nil
	}
	return func(_ context.Context, obj Object) []string { return f(obj.(O)) }
}

func tellStatus[O Object](f func(O) []string) func(Object) []string {
	if f == nil {
		return nil
	}
	return func(obj Object) []string { return f(obj.(O)) }
}

// part makes a Part of functions over the kind's own type. keep copies the
// part from what was sent to a copy of the stored object.
func part[O interface {
	Object
	DeepCopy() O
}](keep func(to, sent, old O), validate func(obj, old O) field.ErrorList) Part {
	return Part{
		Prepare: func(sent, old Object) {
			to := old.(O).DeepCopy()
			keep(to, sent.(O), old.(O))
			to.SetResourceVersion(sent.GetResourceVersion())
			to.SetManagedFields(sent.GetManagedFields())
			reflect.ValueOf(sent).Elem().Set(reflect.ValueOf(to).Elem())
		},
		Validate: compare(validate),
	}
}

func measure[O Object](f func(O) *int64) func(Object) *int64 {
	if f == nil {
		return nil
	}
	return func(obj Object) *int64 { return f(obj.(O)) }
}

// fields makes a FieldsFunc of a function over the kind's own type.
func fields[O Object](f func(O) map[string]string) FieldsFunc {
	return func(obj Object) map[string]string { return f(obj.(O)) }
}

// setDefault fills an empty value.
func setDefault[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

// noneIfEmpty takes away a list without items, which JSON tells from none where
// it must not be left out, but which storage does not.
func noneIfEmpty[T any](list *[]T) {
	if len(*list) == 0 {
		*list = nil
	}
}

// setPointer fills a nil pointer.
func setPointer[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
