// Package quantities keeps out quantities that take hours, or all memory, to read.
//
// The parser of k8s.io/apimachinery works a number such as 1e-1000000000 out digit by
// digit, and nothing can stop it. So what comes from outside is looked at before it
// is decoded: whether it holds such a number at all, which takes a moment and is
// nearly never so, and only then whether a field that is a quantity does.
//
//	quantities.go  which quantities are refused; the look at the bytes
//	json.go        the fields of a JSON body
//	protobuf.go    the fields of a Protobuf message
package quantities

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// longest is the most characters of a quantity, mostDigits the most digits of
	// its exponent. Quantities are kept from 1e-9 on, and up to about 1e19.
	longest    = 200
	mostDigits = 3
)

// Check returns an error for a quantity that is not to be read.
func Check(text string) error {
	switch {
	case len(text) > longest:
		return fmt.Errorf("quantity %.20q… has more than %d characters", text, longest)
	case exponentIn([]byte(text)):
		return fmt.Errorf("the exponent of quantity %q has more than %d digits", text, mostDigits)
	}
	return nil
}

// Parse is resource.ParseQuantity for text from outside.
func Parse(text string) (resource.Quantity, error) {
	if err := Check(text); err != nil {
		return resource.Quantity{}, err
	}
	return resource.ParseQuantity(text)
}

// suspicious says whether bytes hold anything that Check would refuse.
func suspicious(b []byte) bool { return exponentIn(b) || longIn(b) }

// exponentIn says whether there is a number with too many digits in its exponent.
func exponentIn(b []byte) bool {
	for i := 1; i < len(b); i++ {
		if b[i]|0x20 != 'e' || !inNumber(b[i-1]) {
			continue
		}
		from := i + 1
		if from < len(b) && (b[from] == '-' || b[from] == '+') {
			from++
		}
		to := from
		for to < len(b) && isDigit(b[to]) {
			to++
		}
		if to-from > mostDigits {
			return true
		}
	}
	return false
}

// longIn says whether there is a number of too many characters.
func longIn(b []byte) bool {
	// Of every so many characters one is in it.
	const step = longest / 2
	for i := step; i < len(b); i += step {
		if !inNumber(b[i]) {
			continue
		}
		from, to := i, i
		for from > 0 && i-from < longest && inNumber(b[from-1]) {
			from--
		}
		for to < len(b) && to-i < longest && inNumber(b[to]) {
			to++
		}
		if to-from > step {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func inNumber(c byte) bool { return isDigit(c) || c == '.' }

var quantityType = reflect.TypeFor[resource.Quantity]()

// maxDepth is how deep values are looked into. Decoders refuse what is deeper.
const maxDepth = 10_000

// elem is what a type's values, or those of its members, are of.
func elem(t reflect.Type) reflect.Type {
	for t != quantityType && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	return t
}
