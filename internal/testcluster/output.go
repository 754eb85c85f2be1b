package testcluster

import (
	"strings"
	"testing"
)

// Contains fails the test for each of the texts that is not in what a program
// printed; what names that.
func Contains(tb testing.TB, what, printed string, wants ...string) {
	tb.Helper()
	for _, want := range wants {
		if !strings.Contains(printed, want) {
			tb.Errorf("%s does not hold %q:\n%s", what, want, printed)
		}
	}
}
