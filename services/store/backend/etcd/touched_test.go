package etcd

import "testing"

func TestTouched(t *testing.T) {
	var known touched
	newest := int64(10)
	last := func(prefix string) int64 {
		return known.last(prefix, func() int64 { return newest })
	}
	for _, step := range []struct {
		name   string
		do     func()
		want   int64 // of "/a/"
		others int64 // of "/b/"
	}{
		{"not asked for before", func() {}, 10, 10},
		{"somebody else's", func() { newest = 11 }, 10, 10},
		{"a key", func() { known.raise("/a/key", 12) }, 12, 10},
		{"an older change", func() { known.raise("/a/key", 11) }, 12, 10},
		{"all keys", func() { known.raise("/", 13) }, 13, 13},
		{"a longer prefix", func() { known.raise("/b/c/", 14) }, 13, 14},
		{"a doubt", func() { newest = 15; known.doubt("/a/key") }, 15, 14},
		{"after it", func() { newest = 16 }, 15, 14},
		{"a doubt about what is asked for", func() { known.doubt("/b/") }, 15, 16},
	} {
		step.do()
		if a, b := last("/a/"), last("/b/"); a != step.want || b != step.others {
			t.Errorf("%s: %d and %d, want %d and %d", step.name, a, b, step.want, step.others)
		}
	}
	known.raise("/c/key", 17) // which nobody asks for
	if got := last("/c/"); got != newest {
		t.Errorf("of what was not asked for: %d", got)
	}
}

// A doubt that comes while the newest revision is asked for remains.
func TestDoubtMeanwhile(t *testing.T) {
	var known touched
	known.last("/a/", func() int64 { known.doubt("/a/key"); return 10 })
	if got := known.last("/a/", func() int64 { return 20 }); got != 20 {
		t.Errorf("last is %d, want what was newest after the doubt", got)
	}
}
