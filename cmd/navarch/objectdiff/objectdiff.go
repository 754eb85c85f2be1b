// Package objectdiff tells how two versions of an API object differ, field by
// field, as people speak of fields: spec.containers[name=web].image.
package objectdiff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Change is one field that differs. From or To is nil where the field is
// absent.
type Change struct {
	Path string          `json:"path"`
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
}

// String shows the change on one line.
func (c Change) String() string {
	switch {
	case c.From == nil:
		return fmt.Sprintf("+ %s: %s", c.Path, c.To)
	case c.To == nil:
		return fmt.Sprintf("- %s: %s", c.Path, c.From)
	}
	return fmt.Sprintf("~ %s: %s → %s", c.Path, c.From, c.To)
}

// bookkeeping are the fields that change with every write.
var bookkeeping = map[string]bool{
	"metadata.managedFields": true, "metadata.resourceVersion": true, "metadata.generation": true,
}

// Between returns what changed from one JSON document to another, in order of
// the fields' paths. An empty document has no fields.
func Between(from, to []byte) ([]Change, error) {
	a, err := fields(from)
	if err != nil {
		return nil, err
	}
	b, err := fields(to)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	var out []Change
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if was, is := a[path], b[path]; !bytes.Equal(was, is) {
			out = append(out, Change{Path: path, From: was, To: is})
		}
	}
	return out, nil
}

// fields returns a document's leaves by their paths.
func fields(document []byte) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage)
	if len(document) == 0 {
		return out, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("read an object to compare: %w", err)
	}
	return out, flatten(out, "", value)
}

func flatten(out map[string]json.RawMessage, path string, value any) error {
	if bookkeeping[path] {
		return nil
	}
	switch v := value.(type) {
	case map[string]any:
		if len(v) > 0 {
			for key, child := range v {
				if err := flatten(out, join(path, key), child); err != nil {
					return err
				}
			}
			return nil
		}
	case []any:
		if len(v) > 0 {
			key := keyOf(v)
			for i, child := range v {
				if err := flatten(out, path+element(key, i, child), child); err != nil {
					return err
				}
			}
			return nil
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("show the field %s: %w", path, err)
	}
	out[path] = text
	return nil
}

// join adds a key to a path; keys such as labels' that hold dots are quoted.
func join(path, key string) string {
	if strings.ContainsAny(key, ".[]") {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// keyOf returns the field that tells a list's elements apart, "" if none does.
func keyOf(list []any) string {
	for _, key := range []string{"name", "type", "key", "uid", "containerPort", "port", "mountPath"} {
		seen := make(map[string]bool, len(list))
		for _, e := range list {
			if m, ok := e.(map[string]any); ok && m[key] != nil {
				seen[fmt.Sprint(m[key])] = true
			}
		}
		if len(seen) == len(list) {
			return key
		}
	}
	return ""
}

func element(key string, i int, value any) string {
	if m, ok := value.(map[string]any); ok && key != "" {
		return fmt.Sprintf("[%s=%v]", key, m[key])
	}
	return fmt.Sprintf("[%d]", i)
}
