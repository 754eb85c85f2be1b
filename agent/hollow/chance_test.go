package hollow

import (
	"math"
	"strconv"
	"testing"
	"time"
)

func TestDrawsDependOnSeedAndName(t *testing.T) {
	if chance(1).draw("a", "b") != chance(1).draw("a", "b") {
		t.Error("one seed and name draw different numbers")
	}
	for _, other := range []float64{chance(2).draw("a", "b"), chance(1).draw("a", "c"), chance(1).draw("ab"), chance(1).draw("a", "b", "")} {
		if other == chance(1).draw("a", "b") {
			t.Error("another seed or name draws the same number")
		}
	}
}

func TestDrawsAreEven(t *testing.T) {
	const draws, bins = 10_000, 10
	var count [bins]int
	for i := range draws {
		count[int(chance(7).draw("x", strconv.Itoa(i))*bins)]++
	}
	for bin, n := range count {
		if math.Abs(float64(n)-draws/bins) > 150 { // five standard deviations
			t.Errorf("%d of %d draws are in part %d of %d", n, draws, bin, bins)
		}
	}
}

func TestAround(t *testing.T) {
	for i := range 1000 {
		name := strconv.Itoa(i)
		if d := chance(1).around(time.Second, 0.5, name); d < time.Second/2 || d > 3*time.Second/2 {
			t.Fatalf("%s is not within half of a second", d)
		}
		if d := chance(1).around(time.Second, 0, name); d != time.Second {
			t.Fatalf("without a spread, a second is %s", d)
		}
	}
}

func TestWithin(t *testing.T) {
	if _, happens := chance(1).within(0, "x"); happens {
		t.Error("what never happens does")
	}
	const draws = 10_000
	var sum time.Duration
	for i := range draws {
		d, happens := chance(1).within(time.Minute, strconv.Itoa(i))
		if !happens || d < 0 {
			t.Fatalf("within(1m) = %s, %v", d, happens)
		}
		sum += d
	}
	if mean := sum / draws; mean < 57*time.Second || mean > 63*time.Second {
		t.Errorf("on average it took %s, not a minute", mean)
	}
}

func TestHappens(t *testing.T) {
	count := func(rate float64) (n int) {
		for i := range 1000 {
			if chance(1).happens(rate, strconv.Itoa(i)) {
				n++
			}
		}
		return n
	}
	if n := count(0); n != 0 {
		t.Errorf("at rate 0 it happens %d times", n)
	}
	if n := count(1); n != 1000 {
		t.Errorf("at rate 1 it happens %d times of 1000", n)
	}
	if n := count(0.25); n < 180 || n > 320 {
		t.Errorf("at rate 0.25 it happens %d times of 1000", n)
	}
}
