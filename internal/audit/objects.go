package audit

import (
	"bytes"
	"encoding/json"
)

// tidied returns an object in JSON without white space and, if that is wanted,
// without managedFields; nil if there is none.
func tidied(text []byte, omitManagedFields bool) (json.RawMessage, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	if omitManagedFields {
		return withoutManagedFields(text)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// withoutManagedFields takes the managedFields from an object, from each item of
// a list, and from the object of each row of a table.
func withoutManagedFields(text []byte) (json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var content any
	if err := decoder.Decode(&content); err != nil {
		return nil, err
	}
	dropManagedFields(content)
	for _, list := range []string{"items", "rows"} {
		items, _ := member(content, list).([]any)
		for _, item := range items {
			dropManagedFields(item)
			dropManagedFields(member(item, "object"))
		}
	}
	return json.Marshal(content)
}

func member(of any, key string) any {
	fields, _ := of.(map[string]any)
	return fields[key]
}

func dropManagedFields(obj any) {
	if metadata, ok := member(obj, "metadata").(map[string]any); ok {
		delete(metadata, "managedFields")
	}
}
