package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
)

// document returns a body of a request or an answer in JSON, nil if it holds no
// object.
func document(contentType string, body []byte, omitManagedFields bool) (json.RawMessage, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	text, err := inJSON(contentType, body)
	if err != nil || text == nil {
		return nil, err
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

func inJSON(contentType string, body []byte) ([]byte, error) {
	media := negotiate.JSON
	if contentType != "" {
		var err error
		if media, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, err
		}
	}
	switch {
	case media == negotiate.Protobuf:
		return protobufInJSON(body)
	case strings.HasSuffix(media, "json"):
		return body, nil
	case strings.HasSuffix(media, "yaml"):
		return yaml.YAMLToJSON(body)
	}
	return nil, nil
}

// protobufInJSON opens a Protobuf body. Those of custom kinds do not exist.
func protobufInJSON(body []byte) ([]byte, error) {
	gvk, raw, err := envelope.Open(body)
	if err != nil {
		return nil, err
	}
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	message, ok := obj.(interface{ Unmarshal(data []byte) error })
	if !ok {
		return nil, fmt.Errorf("%s has no Protobuf form", gvk)
	}
	if err := message.Unmarshal(raw); err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return json.Marshal(obj)
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
