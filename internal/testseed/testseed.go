// Package testseed decides what a random test does: which choices it makes and
// how many of them. Without any settings every run makes the same few, so that
// a test is quick and as good today as it was yesterday.
//
//	NAVARCH_TEST_SEED    the seed, a number, or "random"; a failing test says its own
//	NAVARCH_TEST_EFFORT  how many times as much to do as by default
package testseed

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

const (
	seedVariable   = "NAVARCH_TEST_SEED"
	effortVariable = "NAVARCH_TEST_EFFORT"
)

// Of returns the seed of a test's choices. A test that fails prints it.
func Of(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(1)
	switch text := os.Getenv(seedVariable); text {
	case "":
	case "random":
		seed = rand.Uint64()
	default:
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s=%d makes the same choices again", seedVariable, seed)
		}
	})
	return seed
}

// Times returns n times the effort that is asked for.
func Times(t testing.TB, n int) int {
	t.Helper()
	text := os.Getenv(effortVariable)
	if text == "" {
		return n
	}
	effort, err := strconv.Atoi(text)
	if err != nil || effort < 1 {
		t.Fatalf("%s: %q is no number above 0", effortVariable, text)
	}
	return n * effort
}
