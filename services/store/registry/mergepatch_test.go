package registry

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzMergePatch compares with a merge of what both documents mean.
func FuzzMergePatch(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":"b"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`},
		{`{"a":["b"]}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`},
		{`{ "a" : {"b":"c"} , "d":[1, {"x":"}]"}] }`, `{"a":{"b":"d","c":null}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`},
		{`{"a":"b"}`, `null`},
		{`{"e":null}`, `{"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`},
		{`{"a\"\u0062":1.50,"n":1e400}`, `{"a\"b":{"x":12345678901234567890}}`},
		{`{"a":{"b":{"c":{"d":{"e":{"f":1,"g":2}}}}}}`, `{"a":{"b":{"c":{"d":{"e":{"f":null}}}}}}`},
		{"{\"a\\\\\":\"\\\"\\\\\",\n\"b\":true}", `{"b":false}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, document, patch []byte) {
		got, err := mergePatch(document, patch)
		if !json.Valid(document) || !json.Valid(patch) || repeats(document) {
			return // which must not panic
		}
		if err != nil {
			t.Fatalf("merge %s into %s: %v", patch, document, err)
		}
		target, err := decodeNumbers(document)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := decodeNumbers(patch)
		if err != nil {
			t.Fatal(err)
		}
		result, err := decodeNumbers(got)
		if err != nil {
			t.Fatalf("merge %s into %s: %s: %v", patch, document, got, err)
		}
		if diff := cmp.Diff(merged(target, changes), result); diff != "" {
			t.Errorf("merge %s into %s: %s (-want +got):\n%s", patch, document, got, diff)
		}
	})
}

// repeats says whether a document names something twice, which means nothing
// certain (RFC 8259, section 4).
func repeats(document []byte) bool {
	var whole any
	if json.Unmarshal(document, &whole) != nil {
		return true
	}
	compact, err := json.Marshal(whole)
	var squeezed bytes.Buffer
	return err != nil || json.Compact(&squeezed, document) != nil || bytes.Count(compact, []byte(":")) != bytes.Count(squeezed.Bytes(), []byte(":"))
}

func TestBrokenDocumentsAreNotMerged(t *testing.T) {
	for _, document := range []string{`{`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{"a":1 "b":2}`, `{"a":"x}`, `{"a":[}`, `{a:1}`, `{"a":1}x`, `{,}`} {
		if got, err := mergePatch([]byte(document), []byte(`{"b":1}`)); err == nil && json.Valid(got) {
			t.Errorf("%s became %s", document, got)
		}
	}
}
