package userns

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ids is a range in units of ranges of pods.
func ids(first, length uint32) Range { return Range{First: first * Unit, Length: length * Unit} }

// TestPool: pods ask, in their order, for the places of
//
//	1 2 3
func TestPool(t *testing.T) {
	type held map[string]Range
	tests := []struct {
		name string
		held held     // found at the start
		gone []string // released then
		asks []string
		want []Range // the zero value is none
	}{
		{"one after the other", nil, nil, []string{"a", "b", "c"}, []Range{ids(1, 1), ids(2, 1), ids(3, 1)}},
		{"the same again", nil, nil, []string{"a", "b", "a"}, []Range{ids(1, 1), ids(2, 1), ids(1, 1)}},
		{"none left", nil, nil, []string{"a", "b", "c", "d"}, []Range{ids(1, 1), ids(2, 1), ids(3, 1), {}}},
		{"found", held{"a": ids(1, 1)}, nil, []string{"b", "a"}, []Range{ids(2, 1), ids(1, 1)}},
		{"found and gone", held{"a": ids(1, 1), "b": ids(2, 1)}, []string{"a"}, []string{"c", "d"}, []Range{ids(1, 1), ids(3, 1)}},
		{"found of another length", held{"a": ids(1, 2)}, nil, []string{"b", "c"}, []Range{ids(3, 1), {}}},
		{"found elsewhere", held{"a": ids(9, 1)}, nil, []string{"a", "b"}, []Range{ids(9, 1), ids(1, 1)}},
		{"found in part elsewhere", held{"a": ids(3, 4)}, nil, []string{"b", "c", "d"}, []Range{ids(1, 1), ids(2, 1), {}}},
		{"found across two", held{"a": {First: Unit + 5, Length: Unit}}, nil, []string{"b"}, []Range{ids(3, 1)}},
		{"released twice", held{"a": ids(2, 1)}, []string{"a", "a", "z"}, []string{"b", "c"}, []Range{ids(1, 1), ids(2, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPool(ids(1, 3), Unit)
			for uid, r := range tt.held {
				if err := p.Hold(uid, r); err != nil {
					t.Fatal(err)
				}
			}
			for _, uid := range tt.gone {
				p.Release(uid)
			}
			for i, uid := range tt.asks {
				got, err := p.Take(uid)
				if got != tt.want[i] || (err == nil) != (tt.want[i] != Range{}) {
					t.Errorf("%s got %v, %v, want %v", uid, got, err, tt.want[i])
				}
			}
		})
	}
}

func TestPoolRefuses(t *testing.T) {
	p := NewPool(ids(1, 3), Unit)
	if err := p.Hold("a", ids(2, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.Hold("b", ids(1, 2)); err == nil {
		t.Error("two pods hold the same IDs")
	}
	if err := p.Hold("a", ids(3, 1)); err != nil {
		t.Error(err)
	}
	reason := errors.New("why not")
	if _, err := Unavailable(reason).Take("a"); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		all  Range
		per  uint32
		pods int
		want string
	}{
		{"default", Default(Unit), Unit, 110, ""},
		{"default of thrice", Default(3 * Unit), 3 * Unit, 110, ""},
		{"default of most", Default(math.MaxUint32 - Unit + 1), math.MaxUint32 - Unit + 1, 0, ""},
		{"default of twice", Default(2 * Unit), 2 * Unit, 110, ""},
		{"just enough", ids(1, 110), Unit, 110, ""},
		{"too few", ids(1, 109), Unit, 110, "enough for 109 pods with 65536 each, not for 110"},
		{"the node's own", Range{First: 0, Length: 200 * Unit}, Unit, 110, "the node's own users"},
		{"odd first", Range{First: Unit + 1, Length: 200 * Unit}, Unit, 110, "do not begin at a multiple"},
		{"odd length", Range{First: Unit, Length: 200*Unit + 1}, Unit, 110, "do not begin at a multiple"},
		{"beyond the last", Range{First: math.MaxUint32 - Unit + 1, Length: 200 * Unit}, Unit, 110, "are fewer than"},
		{"odd pod", ids(1, 200), Unit + 1, 110, "not a multiple of 65536"},
		{"empty pod", ids(1, 200), 0, 110, "not a multiple of 65536"},
	}
	for _, tt := range tests {
		err := tt.all.Validate(tt.per, tt.pods)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestShare: the nodes of a machine divide its IDs.
func TestShare(t *testing.T) {
	all := ids(1, 11)
	var got []Range
	for i := range 3 {
		got = append(got, all.Share(i, 3, Unit))
	}
	if diff := cmp.Diff([]Range{ids(1, 3), ids(4, 3), ids(7, 3)}, got); diff != "" {
		t.Error(diff)
	}
	if whole := all.Share(0, 1, Unit); whole != all {
		t.Errorf("one node has %v", whole)
	}
	last := Default(Unit).Share(99, 100, Unit)
	if err := last.Validate(Unit, 110); err != nil {
		t.Error(err)
	}
}

func TestParseSubIDs(t *testing.T) {
	tests := map[string]Range{
		"0: kubelet 65536 7208960\n": ids(1, 110),
		"0: kubelet 65536 7208960":   ids(1, 110),
		"":                           {},
		"0: kubelet 65536\n":         {},
		"0: kubelet 65536 7208960\n1: kubelet 9961472 65536\n": {},
		"0: kubelet x 7208960\n":                               {},
		"0: kubelet 65536 4294967296\n":                        {},
		"0: kubelet -1 65536\n":                                {},
		"Error fetching ranges\n":                              {},
		"0: kubelet 65536 7208960 and more\n":                  {},
		"\n\n0: kubelet 65536 7208960\n":                       ids(1, 110),
	}
	for text, want := range tests {
		got, err := parseSubIDs(text)
		if got != want || (err == nil) != (want != Range{}) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}
