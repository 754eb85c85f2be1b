package shares

import (
	"math/rand/v2"
	"slices"
	"testing"

	"k8s.io/utils/ptr"
)

func TestNominal(t *testing.T) {
	claims := []Claim{
		{Shares: 30, LendablePercent: 33}, {Shares: 40, LendablePercent: 25}, {Shares: 10}, {Shares: 40, LendablePercent: 50},
		{Shares: 100, LendablePercent: 90}, {Shares: 20, LendablePercent: 50}, {Shares: 5}, {Shares: 0},
	}
	// What kube-apiserver's metrics say of its own levels with 600 seats.
	want := []Bounds{
		{74, 50, 674}, {98, 73, 698}, {25, 25, 625}, {98, 49, 698}, {245, 24, 845}, {49, 24, 649}, {13, 13, 613}, {0, 0, 600},
	}
	if got := Nominal(600, claims); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := Nominal(10, []Claim{{Shares: 1, BorrowingPercent: ptr.To[int32](50)}}), []Bounds{{10, 10, 15}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := Nominal(10, []Claim{{}}), []Bounds{{0, 0, 10}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDivide(t *testing.T) {
	// Three levels of 100 seats each, of which all, half and none can be lent.
	level := func(lent int, peak int) Level {
		var l Level
		l.Bounds = Bounds{Nominal: 100, Min: 100 - lent, Max: 400}
		l.Next(peak)
		return l
	}
	exempt := func(peak int) Level {
		l := Level{Exempt: true}
		l.Next(peak)
		return l
	}
	limited := level(50, 300)
	limited.Max = 120
	for name, tc := range map[string]struct {
		levels []Level
		want   []int
	}{
		"the idle lend":                     {[]Level{level(100, 0), level(50, 0), level(0, 300)}, []int{0, 50, 250}},
		"the busy have their own":           {[]Level{level(100, 200), level(50, 200), level(0, 200)}, []int{100, 100, 100}},
		"a little is wanted":                {[]Level{level(100, 20), level(50, 20), level(0, 400)}, []int{20, 50, 230}},
		"in proportion":                     {[]Level{level(100, 60), level(100, 30), level(100, 0)}, []int{200, 100, 0}},
		"no more than it may borrow":        {[]Level{level(100, 0), limited}, []int{80, 120}},
		"the exempt take from all":          {[]Level{level(100, 100), level(100, 100), exempt(100)}, []int{50, 50, 100}},
		"the exempt leave what is no one's": {[]Level{level(100, 100), level(50, 100), exempt(500)}, []int{0, 50, 500}},
		"nobody":                            {nil, []int{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Divide(tc.levels); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestDivideKeepsBounds divides seats at random: each level gets what its bounds
// allow, and all together as many as there are, but for rounding.
func TestDivideKeepsBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		claims := make([]Claim, 1+random.IntN(8))
		for i := range claims {
			claims[i] = Claim{Shares: random.Int32N(100), LendablePercent: random.Int32N(101)}
		}
		levels := make([]Level, len(claims))
		total := 0
		for i, b := range Nominal(1+random.IntN(1000), claims) {
			levels[i].Bounds = b
			levels[i].Next(random.IntN(500))
			total += b.Nominal
		}
		sum := 0
		for i, seats := range Divide(levels) {
			if l := levels[i]; seats < l.least() || seats > l.Max {
				t.Fatalf("a level of %+v got %d seats", l, seats)
			}
			sum += seats
		}
		if sum < total-len(levels) || sum > total+len(levels) {
			t.Fatalf("%d seats were given of %d", sum, total)
		}
	}
}

func TestDemandFallsSlowly(t *testing.T) {
	var d Demand
	d.Next(100)
	for range 30 { // five minutes
		d.Next(0)
	}
	if d.Peak != 0 || d.Smoothed < 49 || d.Smoothed > 51 {
		t.Errorf("the demand is %+v, want half of 100", d)
	}
	if d.Next(80); d.Smoothed != 80 {
		t.Errorf("the demand is %+v, want 80", d)
	}
}
