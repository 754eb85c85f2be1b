package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxPatchDepth is how deeply a patch may nest, and how long its paths may be.
// No object comes near, while the work that a patch makes grows with the
// square of it.
const maxPatchDepth = 200

// mergePatch returns a document changed by a merge patch (RFC 7386).
func mergePatch(document, patch []byte) ([]byte, error) {
	target, err := decodeNumbers(document)
	if err != nil {
		return nil, err
	}
	changes, err := decodeNumbers(patch)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(merged(target, changes))
	if err != nil {
		return nil, fmt.Errorf("encode the merged document: %w", err)
	}
	return out, nil
}

func merged(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := target.(map[string]any)
	if !ok {
		out = make(map[string]any, len(changes))
	}
	for key, value := range changes {
		if value == nil {
			delete(out, key)
		} else {
			out[key] = merged(out[key], value)
		}
	}
	return out
}

// decodeNumbers decodes JSON and keeps numbers as they are written.
func decodeNumbers(b []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var v any
	err := decoder.Decode(&v)
	return v, err
}

// depth returns how deeply a JSON document nests.
func depth(b []byte) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}
