// Package jsonpatch applies JSON patches (RFC 6902) of strangers: of users, of
// webhooks, of policies. They change a document or are refused; none can make
// the Store run out of memory, or end it.
package jsonpatch

import (
	library "github.com/evanphx/json-patch/v5"
)

// maxCopies bounds by how many bytes the copies of one patch may make a document
// grow: each can double it.
const maxCopies = 3 << 20

// Patch is a list of operations.
type Patch = library.Patch

// TooLargeError is the error of a patch that copies too much.
type TooLargeError = library.AccumulatedCopySizeError

// ErrTestFailed is the error of a patch one of whose tests fails.
var ErrTestFailed = library.ErrTestFailed

// Decode reads a patch.
func Decode(text []byte) (Patch, error) { return library.DecodePatch(text) }

// Apply returns a document changed by a patch.
func Apply(document []byte, patch Patch) ([]byte, error) {
	for _, operation := range patch {
		// A test without a value is one for null. The library does not expect
		// it of the whole document.
		if _, given := operation["value"]; !given && operation.Kind() == "test" {
			operation["value"] = nil
		}
	}
	options := library.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxCopies
	return patch.ApplyWithOptions(document, options)
}
