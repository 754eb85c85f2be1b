package reply_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"navarch.dev/navarch/gateway/reply"
)

func TestWarnings(t *testing.T) {
	long := func(letter string, n int) string { return strings.Repeat(letter, n) }
	many := make([]string, 40)
	for i := range many {
		many[i] = string(rune('a'+i%26)) + long(string(rune('A'+i%26)), 299) + strings.Repeat("x", i)
	}
	cut := make([]string, 16)
	for i := range cut {
		cut[i] = many[i][:256]
	}
	for _, tt := range []struct {
		name string
		said [][]string // by one call each
		want []string
	}{
		{"in order", [][]string{{"b", "a"}, {"c"}}, []string{"b", "a", "c"}},
		{"once", [][]string{{"a", "b", "a"}, {"b", "c"}}, []string{"a", "b", "c"}},
		{"nothing", [][]string{{"", "a", " \n"}}, []string{"a"}},
		{"one line", [][]string{{"a\n b", "two  spaces"}}, []string{"a b", "two  spaces"}},
		{"what no header can have", [][]string{{"a\x00", "b"}}, []string{"b"}},
		{"quotes", [][]string{{`a "b" \c`}, {`a "b" \c`}}, []string{`a "b" \c`}},
		{"a long one", [][]string{{long("x", 4096)}}, []string{long("x", 4096)}},
		{"too long a one", [][]string{{long("x", 4097)}}, []string{long("x", 256)}},
		{"characters, not bytes", [][]string{{long("é", 4096)}}, []string{long("é", 4096)}},
		{"all are cut", [][]string{{long("x", 300), "y"}, {long("z", 4000)}}, []string{long("x", 256), "y", long("z", 256)}},
		{"and the last left out", [][]string{many}, cut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			for _, texts := range tt.said {
				reply.Warnings(w, texts)
			}
			parsed, errs := utilnet.ParseWarningHeaders(w.Header().Values("Warning"))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			var got []string
			for _, p := range parsed {
				got = append(got, p.Text)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the warnings differ (-want +got):\n%s", diff)
			}
		})
	}
}
