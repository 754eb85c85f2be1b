package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// get serves one object.
func (h *Handler) get(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	q := r.URL.Query()
	p, err := projection(f, q)
	if err != nil {
		return err
	}
	bare := p == storev1.Projection_PROJECTION_TABLE
	if bare {
		p = storev1.Projection_PROJECTION_TABLE_WITH_METADATA // of which the table says the version
	}
	resp, err := h.Store.Get(r.Context(), &storev1.GetRequest{
		Resource: resource(t), Namespace: t.Namespace, Name: t.Name, Subresource: t.Subresource,
		ResourceVersion: q.Get("resourceVersion"), Encoding: encoding(f), Projection: p,
	})
	if err != nil {
		return err
	}
	columns := resp.GetTableColumns()
	if bare && columns != nil {
		return h.bareTable(w, r, f, resp.GetObject().GetJson(), columns)
	}
	return h.object(w, r, http.StatusOK, f, resp.GetObject(), columns)
}

// bareTable writes a table of one row without the row's object.
func (h *Handler) bareTable(w http.ResponseWriter, r *http.Request, f negotiate.Format, row, columns []byte) error {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(row, &parts); err != nil {
		return fmt.Errorf("read a table's row: %w", err)
	}
	parts["object"] = json.RawMessage("null")
	bare, err := json.Marshal(parts)
	if err != nil {
		return fmt.Errorf("write a table's row: %w", err)
	}
	return h.json(w, r, http.StatusOK, f, tableOf(f.Version, rowVersion(row), columns, bare))
}

// object writes one object of the Store as the response.
func (h *Handler) object(w http.ResponseWriter, r *http.Request, code int, f negotiate.Format, obj *storev1.Object, columns []byte) error {
	if f.Media == negotiate.Protobuf {
		gvk, err := h.kindOf(obj)
		if err != nil {
			return err
		}
		if f.IsMetadata() && gvk.Kind == "PartialObjectMetadata" {
			gvk.Version = f.Version
		}
		reply.Bytes(w, r, code, f.ContentType(), envelope.Seal(gvk, obj.GetObject().GetValue()))
		return nil
	}
	body := inVersion(f, obj.GetJson())
	// What is no row (the Status of a finished delete, a review) stays as it is.
	if f.IsTable() && columns != nil {
		body = tableOf(f.Version, rowVersion(body), columns, body)
	}
	return h.json(w, r, code, f, body)
}

// json writes a JSON document in the client's format.
func (h *Handler) json(w http.ResponseWriter, r *http.Request, code int, f negotiate.Format, body []byte) error {
	switch {
	case f.Media == negotiate.YAML:
		text, err := reply.YAML(body)
		if err != nil {
			return err
		}
		body = text
	case attributes.Flag(r.URL.Query(), "pretty"):
		body = reply.Indent(body)
	case !bytes.HasSuffix(body, newline):
		body = append(body[:len(body):len(body)], '\n') // a copy: the Store shares these bytes
	}
	reply.Bytes(w, r, code, f.ContentType(), body)
	return nil
}

var newline = []byte("\n")

// kindOf returns the kind of a Protobuf object.
func (h *Handler) kindOf(obj *storev1.Object) (schema.GroupVersionKind, error) {
	gvk, ok := h.Types.KindOf(obj.GetObject().GetTypeUrl())
	if !ok {
		return gvk, fmt.Errorf("the Store answered with a message of unknown type %q", obj.GetObject().GetTypeUrl())
	}
	return gvk, nil
}

// tableOf returns a Table of one row, of an object in a resourceVersion.
func tableOf(version, resourceVersion string, columns, row []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(columns) + len(row) + 160)
	fmt.Fprintf(&b, `{"kind":"Table","apiVersion":"meta.k8s.io/%s","metadata":{`, version)
	if resourceVersion != "" {
		fmt.Fprintf(&b, `"resourceVersion":%q`, resourceVersion)
	}
	b.WriteString(`},"columnDefinitions":`)
	b.Write(columns)
	b.WriteString(`,"rows":[`)
	b.Write(row)
	b.WriteString("]}")
	return b.Bytes()
}

// rowVersion returns the resourceVersion of the object in a table row.
func rowVersion(row []byte) string {
	var r struct {
		Object struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
			} `json:"metadata"`
		} `json:"object"`
	}
	if json.Unmarshal(row, &r) != nil {
		return ""
	}
	return r.Object.Metadata.ResourceVersion
}
