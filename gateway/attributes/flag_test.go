package attributes

import (
	"net/url"
	"testing"
)

func TestFlag(t *testing.T) {
	for query, want := range map[string]bool{
		"": false, "x": true, "x=": true, "x=1": true, "x=true": true, "x=yes": true,
		"x=0": false, "x=false": false, "x=False": false, "y=1": false, "x=0&x=1": false,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := Flag(q, "x"); got != want {
			t.Errorf("%q: %v", query, got)
		}
	}
}
