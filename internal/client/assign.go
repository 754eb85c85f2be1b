package client

import (
	"fmt"
	"reflect"

	"navarch.dev/navarch/internal/kinds"
)

// assign sets *dst to *src; both must be of one type.
func assign(dst, src kinds.Object) error {
	d, s := reflect.ValueOf(dst), reflect.ValueOf(src)
	if d.Type() != s.Type() {
		return fmt.Errorf("a %T cannot hold a %T", dst, src)
	}
	d.Elem().Set(s.Elem())
	return nil
}
