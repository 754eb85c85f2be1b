package audit

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
)

// inJSON returns a body of a request or an answer in JSON, nil if it holds no
// object.
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
