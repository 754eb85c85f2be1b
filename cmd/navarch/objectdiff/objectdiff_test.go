package objectdiff_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/cmd/navarch/objectdiff"
)

func TestBetween(t *testing.T) {
	for _, tc := range []struct {
		name, from, to string
		want           []string
	}{
		{"the same", `{"a":1}`, `{"a":1}`, nil},
		{"a field", `{"spec":{"replicas":1}}`, `{"spec":{"replicas":3}}`, []string{"~ spec.replicas: 1 → 3"}},
		{"new", ``, `{"data":{"k":"v"}}`, []string{`+ data.k: "v"`}},
		{"gone", `{"data":{"k":"v"},"x":{}}`, `{"x":{}}`, []string{`- data.k: "v"`}},
		{"bookkeeping", `{"metadata":{"resourceVersion":"1","generation":1}}`, `{"metadata":{"resourceVersion":"2","managedFields":[{}]}}`, nil},
		{"a list by name", `{"c":[{"name":"a","image":"1"},{"name":"b"}]}`, `{"c":[{"name":"b"},{"name":"a","image":"2"}]}`,
			[]string{`~ c[name=a].image: "1" → "2"`}},
		{"a plain list", `{"args":["x"]}`, `{"args":["x","y"]}`, []string{`+ args[1]: "y"`}},
		{"keys with dots", `{"l":{}}`, `{"l":{"a.b/c":"d"}}`, []string{`- l: {}`, `+ l["a.b/c"]: "d"`}},
		{"large numbers", `{"n":9007199254740993}`, `{"n":9007199254740992}`, []string{"~ n: 9007199254740993 → 9007199254740992"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			changes, err := objectdiff.Between([]byte(tc.from), []byte(tc.to))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, c.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := objectdiff.Between([]byte("{"), nil); err == nil {
		t.Error("half a document is compared")
	}
}

func FuzzBetween(f *testing.F) {
	f.Add([]byte(`{"c":[{"name":"a","image":"1"},{"name":"b"}]}`), []byte(`{"c":[{"name":"a"}],"n":1e400}`))
	f.Add([]byte(`[[],{},null]`), []byte(`{"a.b":{"":"x"}}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if _, err := objectdiff.Between(a, b); err != nil {
			return
		}
		if same, err := objectdiff.Between(a, a); err != nil || len(same) > 0 {
			t.Errorf("a document differs from itself: %v, %v", same, err)
		}
	})
}
