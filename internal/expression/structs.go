package expression

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

const (
	requestType   = "kubernetes.AdmissionRequest"
	namespaceType = "kubernetes.Namespace"
)

// fields are the fields of a type that expressions can use.
type fields map[string]*cel.Type

// structs knows the types whose fields are known when an expression is checked.
// Their values are maps.
type structs struct {
	types.Provider
	types map[string]fields
	// patches says that objects and JSON patches can be made.
	patches bool
}

// FindStructType implements types.Provider.
func (s *structs) FindStructType(name string) (*types.Type, bool) {
	if _, ok := s.types[name]; ok || s.patches && isPatchType(name) {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return s.Provider.FindStructType(name)
}

// FindIdent implements types.Provider.
func (s *structs) FindIdent(name string) (ref.Val, bool) {
	if _, ok := s.types[name]; ok || s.patches && isPatchType(name) {
		return types.NewObjectType(name), true
	}
	return s.Provider.FindIdent(name)
}

// FindStructFieldNames implements types.Provider.
func (s *structs) FindStructFieldNames(name string) ([]string, bool) {
	known, ok := s.types[name]
	if !ok {
		return s.Provider.FindStructFieldNames(name)
	}
	var names []string
	for field := range known {
		names = append(names, field)
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (s *structs) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if s.patches && isPatchType(name) {
		return patchField(name, field)
	}
	known, ok := s.types[name]
	if !ok {
		return s.Provider.FindStructFieldType(name, field)
	}
	t, ok := known[field]
	return &types.FieldType{Type: t}, ok
}

// NewValue implements types.Provider.
func (s *structs) NewValue(name string, values map[string]ref.Val) ref.Val {
	if s.patches && isPatchType(name) {
		return newPatchValue(name, values)
	}
	return s.Provider.NewValue(name, values)
}

// requestTypes are the types of request and namespaceObject.
func requestTypes() map[string]fields {
	const (
		gvk, gvr, user                = "kubernetes.GroupVersionKind", "kubernetes.GroupVersionResource", "kubernetes.UserInfo"
		metadata, spec, status, state = "kubernetes.NamespaceMetadata", "kubernetes.NamespaceSpec", "kubernetes.NamespaceStatus", "kubernetes.NamespaceCondition"
	)
	text, texts := cel.StringType, cel.ListType(cel.StringType)
	return map[string]fields{
		gvk:  {"group": text, "version": text, "kind": text},
		gvr:  {"group": text, "version": text, "resource": text},
		user: {"username": text, "uid": text, "groups": texts, "extra": cel.MapType(text, texts)},
		requestType: {
			"kind": cel.ObjectType(gvk), "resource": cel.ObjectType(gvr), "subResource": text,
			"requestKind": cel.ObjectType(gvk), "requestResource": cel.ObjectType(gvr), "requestSubResource": text,
			"name": text, "namespace": text, "operation": text, "userInfo": cel.ObjectType(user), "dryRun": cel.BoolType, "options": cel.DynType,
		},
		namespaceType: {"metadata": cel.ObjectType(metadata), "spec": cel.ObjectType(spec), "status": cel.ObjectType(status)},
		metadata: {
			"name": text, "generateName": text, "namespace": text, "labels": cel.MapType(text, text), "annotations": cel.MapType(text, text),
			"UID": text, "creationTimestamp": cel.TimestampType, "deletionGracePeriodSeconds": cel.IntType, "deletionTimestamp": cel.TimestampType,
			"generation": cel.IntType, "resourceVersion": text, "finalizers": texts,
		},
		spec:   {"finalizers": texts},
		status: {"conditions": cel.ListType(cel.ObjectType(state)), "phase": text},
		state:  {"status": text, "type": text, "lastTransitionTime": cel.TimestampType, "message": text, "reason": text},
	}
}
