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
	changes, err := decodeNumbers(patch)
	if err != nil {
		return nil, err
	}
	out, err := mergedRaw(document, changes, rawLevels)
	if err != nil {
		return nil, fmt.Errorf("merge the patch into the document: %w", err)
	}
	return out, nil
}

// rawLevels is how many levels of a document are taken apart one by one: each
// passes over all that is below it.
const rawLevels = 4

// mergedRaw returns a document with changes. Of its first levels, those parts
// alone are decoded that the changes reach into.
func mergedRaw(document json.RawMessage, patch any, levels int) (json.RawMessage, error) {
	changes, ok := patch.(map[string]any)
	document = bytes.TrimLeft(document, " \t\r\n")
	switch {
	case !ok, len(document) == 0:
		return json.Marshal(merged(nil, patch))
	case levels == 0, document[0] != '{':
		target, err := decodeNumbers(document)
		if err != nil {
			return nil, err
		}
		return json.Marshal(merged(target, patch))
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(document, &out); err != nil {
		return nil, err
	}
	for key, value := range changes {
		if value == nil {
			delete(out, key)
			continue
		}
		var err error
		if out[key], err = mergedRaw(out[key], value, levels-1); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
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
