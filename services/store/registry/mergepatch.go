package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
// alone are decoded that the changes reach into; what they leave alone is
// copied as it is.
func mergedRaw(document []byte, patch any, levels int) ([]byte, error) {
	changes, ok := patch.(map[string]any)
	document = bytes.Trim(document, jsonSpace)
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
	have, err := membersOf(document)
	if err != nil {
		return nil, err
	}
	out := objectWriter{json: make([]byte, 0, len(document)+len(document)/8)}
	for _, m := range have {
		change, changed := changes[m.name]
		switch {
		case !changed:
			out.add(m.key, m.value)
		case change != nil:
			value, err := mergedRaw(m.value, change, levels-1)
			if err != nil {
				return nil, err
			}
			out.add(m.key, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if changes[name] == nil || slices.ContainsFunc(have, func(m member) bool { return m.name == name }) {
			continue
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(merged(nil, changes[name]))
		if err != nil {
			return nil, err
		}
		out.add(key, value)
	}
	return out.end(), nil
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
