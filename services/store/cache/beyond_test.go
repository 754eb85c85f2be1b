package cache

import "testing"

func TestBeyond(t *testing.T) {
	for prefix, want := range map[string]string{
		"":             "",
		"/pods/":       "/pods0",
		"a\xff":        "b",
		"a\xff\xff":    "b",
		"\xff":         "",
		"/pods/a\xffb": "/pods/a\xffc",
	} {
		if got := beyond(prefix); got != want {
			t.Errorf("beyond %q is %q, want %q", prefix, got, want)
		}
	}
}
