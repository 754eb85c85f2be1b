package jsonpatch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"navarch.dev/navarch/services/store/jsonpatch"
)

const document = `{"a":{"b":1},"list":[1,2]}`

func apply(patch string) (string, error) {
	decoded, err := jsonpatch.Decode([]byte(patch))
	if err != nil {
		return "", err
	}
	out, err := jsonpatch.Apply([]byte(document), decoded)
	return string(out), err
}

func TestApply(t *testing.T) {
	for _, c := range []struct{ patch, want, fails string }{
		{`[{"op":"add","path":"/c","value":3}]`, `{"a":{"b":1},"list":[1,2],"c":3}`, ""},
		{`[{"op":"remove","path":"/list/-1"}]`, `{"a":{"b":1},"list":[1]}`, ""},
		{`[{"op":"test","path":"/a/b","value":1},{"op":"remove","path":"/list"}]`, `{"a":{"b":1}}`, ""},
		{`[{"op":"test","path":"/a/b","value":2}]`, "", "testing value /a/b failed"},
		{`[{"op":"test","path":""}]`, "", "failed"},
		{`[{"op":"test","path":"/a"}]`, "", "testing value /a failed"},
		{`[{"op":"remove","path":"/none"}]`, "", "unable to remove nonexistent key: none"},
		{`[{"op":"jump","path":"/a"}]`, "", "unsupported operation"},
		{`[null]`, "", "unsupported operation"},
		{`[]`, document, ""},
	} {
		got, err := apply(c.patch)
		switch {
		case c.fails != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), c.fails)):
			t.Errorf("%s fails as %v", c.patch, err)
		case c.fails == "" && (err != nil || got != c.want):
			t.Errorf("%s makes %s: %v", c.patch, got, err)
		}
	}
}

func TestGrowthIsBounded(t *testing.T) {
	var copies []string
	for i := range 40 { // each doubles what is under a
		copies = append(copies, fmt.Sprintf(`{"op":"copy","from":"/a","path":"/a/x%d"}`, i))
	}
	_, err := apply("[" + strings.Join(copies, ",") + "]")
	var grown *jsonpatch.TooLargeError
	if !errors.As(err, &grown) {
		t.Errorf("it fails as %v", err)
	}
}

// FuzzApply: a patch changes a document or is refused.
func FuzzApply(f *testing.F) {
	for _, patch := range []string{
		`[{"op":"test","path":""}]`, `[{"op":"replace","path":"","value":null},{"op":"add","path":"/x","value":1}]`, `[{"op":"copy","from":"","path":"/a"}]`,
		`[{"op":"move","from":"/a/b","path":"/list/-"}]`, `[{"op":"add","path":"/list/-3"}]`, `[{"op":"test","path":"/list/0"}]`,
	} {
		f.Add(patch)
	}
	f.Fuzz(func(_ *testing.T, patch string) { _, _ = apply(patch) })
}
