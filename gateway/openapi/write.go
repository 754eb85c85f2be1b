package openapi

import "net/http"

// object is a JSON object.
type object = map[string]any

// paths returns the operations by path and method, each written by write.
func paths(ops []operation, write func(operation) object) object {
	out := make(object)
	for _, o := range ops {
		item, ok := out[o.path].(object)
		if !ok {
			item = make(object)
			out[o.path] = item
		}
		item[o.method] = write(o)
	}
	return out
}

// base is what v2 and v3 write alike.
func (o operation) base() object {
	return object{
		"description": o.description, "operationId": o.id(),
		"tags":                            []string{tag(o)},
		"x-kubernetes-action":             o.action,
		"x-kubernetes-group-version-kind": o.subject,
	}
}

func tag(o operation) string {
	if o.kind.Group == "" {
		return "core_" + o.kind.Version
	}
	return o.kind.Group + "_" + o.kind.Version
}

// unique drops parameters that appear before under the same name.
func unique(all []parameter) []parameter {
	seen := make(map[string]bool)
	var out []parameter
	for _, p := range all {
		if !seen[p.name] {
			seen[p.name] = true
			out = append(out, p)
		}
	}
	return out
}

// writeV3 writes an operation as OpenAPI v3.
func writeV3(o operation) object {
	out := o.base()
	var params []object
	add := func(p parameter, in string) {
		params = append(params, object{
			"name": p.name, "in": in, "description": p.description, "required": in == "path",
			"schema": object{"type": p.kind, "uniqueItems": true},
		})
	}
	for _, p := range pathParameters(o.path) {
		add(p, "path")
	}
	for _, p := range unique(o.parameters) {
		add(p, "query")
	}
	if params != nil {
		out["parameters"] = params
	}
	if o.body != "" {
		out["requestBody"] = object{"required": o.method != "delete", "content": content(o.consumes, o.body)}
	}
	response := object{"description": http.StatusText(http.StatusOK)}
	if o.result != "" {
		response["content"] = content(objectTypesOf(o.kind), o.result)
	}
	out["responses"] = object{o.code: response}
	return out
}

func content(types []string, model string) object {
	out := make(object)
	for _, t := range types {
		out[t] = object{"schema": object{"$ref": refV3 + model}}
	}
	return out
}

// writeV2 writes an operation as OpenAPI v2.
func writeV2(o operation) object {
	out := o.base()
	var params []object
	add := func(p parameter, in string) {
		params = append(params, object{
			"name": p.name, "in": in, "description": p.description, "required": in == "path", "type": p.kind, "uniqueItems": true,
		})
	}
	if o.body != "" {
		out["consumes"] = o.consumes
		params = append(params, object{
			"name": "body", "in": "body", "required": o.method != "delete", "schema": object{"$ref": refV2 + o.body},
		})
	}
	for _, p := range pathParameters(o.path) {
		add(p, "path")
	}
	for _, p := range unique(o.parameters) {
		add(p, "query")
	}
	if params != nil {
		out["parameters"] = params
	}
	out["produces"], out["schemes"] = objectTypes, []string{"https"}
	response := object{"description": http.StatusText(http.StatusOK)}
	if o.result != "" {
		response["schema"] = object{"$ref": refV2 + o.result}
	}
	out["responses"] = object{o.code: response}
	return out
}
