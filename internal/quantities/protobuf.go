package quantities

import (
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CheckProtobuf is CheckJSON for a Protobuf message.
func CheckProtobuf(message []byte, into any) error {
	if !suspicious(message) {
		return nil
	}
	return checkMessage(message, elem(reflect.TypeOf(into)), nil, 0)
}

// The numbers of the fields of a quantity's message, and of an entry of a map.
const (
	textNumber  = 1
	keyNumber   = 1
	valueNumber = 2
)

// checkMessage looks at the fields of a message that structs and maps are made of.
func checkMessage(b []byte, t reflect.Type, at *field.Path, depth int) error {
	if depth > maxDepth {
		return nil
	}
	key := ""
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil // for the decoder to say
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return nil
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		var err error
		switch {
		case t == quantityType && number == textNumber:
			err = refuse(t, at, string(value))
		case t.Kind() == reflect.Map && number == keyNumber:
			key = string(value)
		case t.Kind() == reflect.Map && number == valueNumber:
			err = checkMessage(value, elem(t.Elem()), at.Key(key), depth+1)
		case t.Kind() == reflect.Struct && t != quantityType:
			name, member := protobufMember(t, number)
			if member == nil {
				continue
			}
			within := at
			if name != "" { // else its fields are those of the struct in JSON
				within = at.Child(name)
			}
			err = checkMessage(value, member, within, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// protobufMember returns the name and the type of a struct's field by its number; no
// type if it holds no message.
func protobufMember(t reflect.Type, number protowire.Number) (string, reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		parts := strings.Split(f.Tag.Get("protobuf"), ",")
		if len(parts) < 2 || parts[1] != strconv.Itoa(int(number)) {
			continue
		}
		member := elem(f.Type)
		if member.Kind() != reflect.Struct && member.Kind() != reflect.Map {
			return "", nil
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name, member
	}
	return "", nil
}
