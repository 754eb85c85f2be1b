package registry

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
)

// differing returns two objects of one kind without what is the same in both.
// Whose fields a write has changed shows in what differs, and to find that no
// field of an equal spec has changed costs a hundred times as much as that the
// specs are equal. Both are shallow copies: what they hold is shared.
func differing(a, b kinds.Object) (kinds.Object, kinds.Object) {
	a, b = shallow(a), shallow(b)
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range left.NumField() {
		field := left.Type().Field(i)
		switch field.Type {
		case reflect.TypeFor[metav1.TypeMeta]():
		case reflect.TypeFor[metav1.ObjectMeta]():
			// All else says what kind of write it is, or is nobody's.
			x, y := left.Field(i).Addr().Interface().(*metav1.ObjectMeta), right.Field(i).Addr().Interface().(*metav1.ObjectMeta)
			dropEqual(reflect.ValueOf(&x.Labels).Elem(), reflect.ValueOf(&y.Labels).Elem())
			dropEqual(reflect.ValueOf(&x.Annotations).Elem(), reflect.ValueOf(&y.Annotations).Elem())
			dropEqual(reflect.ValueOf(&x.OwnerReferences).Elem(), reflect.ValueOf(&y.OwnerReferences).Elem())
		default:
			dropEqual(left.Field(i), right.Field(i))
		}
	}
	return a, b
}

func dropEqual(x, y reflect.Value) {
	if x.CanSet() && reflect.DeepEqual(x.Interface(), y.Interface()) {
		x.SetZero()
		y.SetZero()
	}
}

// shallow returns an object that shares with another what that holds.
func shallow(obj kinds.Object) kinds.Object {
	from := reflect.ValueOf(obj).Elem()
	to := reflect.New(from.Type())
	to.Elem().Set(from)
	return to.Interface().(kinds.Object)
}
