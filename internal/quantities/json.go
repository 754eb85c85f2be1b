package quantities

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CheckJSON returns an error for a JSON body with a quantity that is not to be read,
// where the object that it is decoded into has one. What is wrong with the body
// otherwise is for its decoder to say.
func CheckJSON(body []byte, into any) error {
	if !suspicious(body) {
		return nil
	}
	w := jsonWalk{json.NewDecoder(bytes.NewReader(body))}
	w.decoder.UseNumber()
	err := w.value(elem(reflect.TypeOf(into)), nil, 0)
	if _, refused := err.(refusal); refused { //nolint:errorlint // it is never wrapped
		return err
	}
	return nil
}

// refusal tells of a quantity and where it is.
type refusal struct {
	at  *field.Path
	why error
}

func (r refusal) Error() string { return fmt.Sprintf("%s: %v", r.at, r.why) }

// Unmarshal is json.Unmarshal for text from outside that quantities may be in.
func Unmarshal(text []byte, into any) error {
	if err := CheckJSON(text, into); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// jsonWalk reads a body as the type says that it is decoded into. Every member of an
// object is looked at, also of those that are there twice.
type jsonWalk struct{ decoder *json.Decoder }

// value reads one value; a type of nil is of no interest.
func (w jsonWalk) value(t reflect.Type, at *field.Path, depth int) error {
	if t == nil || depth > maxDepth {
		return w.decoder.Decode(&json.RawMessage{})
	}
	token, err := w.decoder.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case json.Delim:
		for n := 0; w.decoder.More(); n++ {
			if v == '[' {
				err = w.value(t, at.Index(n), depth+1)
			} else {
				err = w.member(t, at, depth)
			}
			if err != nil {
				return err
			}
		}
		_, err = w.decoder.Token()
		return err
	case json.Number:
		return refuse(t, at, v.String())
	case string:
		return refuse(t, at, v)
	}
	return nil
}

// member reads a member of an object.
func (w jsonWalk) member(t reflect.Type, at *field.Path, depth int) error {
	key, err := w.decoder.Token()
	if err != nil {
		return err
	}
	name, _ := key.(string)
	switch t.Kind() {
	case reflect.Map:
		return w.value(elem(t.Elem()), at.Key(name), depth+1)
	case reflect.Struct:
		return w.value(jsonMember(t, name), at.Child(name), depth+1)
	}
	return w.value(nil, at, depth+1)
}

// jsonMember returns the type of a struct's member in JSON, nil if there is none.
func jsonMember(t reflect.Type, name string) reflect.Type {
	if t == quantityType {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == name && tag != "":
			return elem(f.Type)
		case tag == "" && f.Anonymous && elem(f.Type).Kind() == reflect.Struct:
			if found := jsonMember(elem(f.Type), name); found != nil {
				return found
			}
		}
	}
	return nil
}

// refuse checks the text of a value that is a quantity.
func refuse(t reflect.Type, at *field.Path, text string) error {
	if t != quantityType {
		return nil
	}
	if err := Check(text); err != nil {
		return refusal{at, err}
	}
	return nil
}
