package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// trial is a request: one with an edit, or one that reads or deletes.
type trial struct {
	*target
	verb string
	edit edit
	// query is what reads and deletions ask for, and accept the form of the answer.
	query  url.Values
	accept string
	// options is the body of a deletion.
	options map[string]any
}

// verbs are what is sent, the first of them with edits: "make" is an update of an
// object that is not there, and "conflict" applies what others have without taking
// it over.
var verbs = []string{
	"create", "make", "update", "patch", "apply", "conflict", "status",
	"scale get", "scale update", "scale patch", "scale merge", "scale apply",
	"get", "list", "delete", "deletecollection",
}

// draw decides for a request, and returns whether there is one to make.
func (t *trial) draw(d *editor) bool {
	t.verb = verbs[d.rand.IntN(len(verbs))]
	t.accept = jsonType
	switch t.verb {
	case "get":
		t.query, t.accept = d.readQuery(), d.form("")
		return true
	case "list":
		t.query, t.accept = d.listQuery(t.target), d.form("List")
		return true
	case "delete", "deletecollection":
		t.query = url.Values{}
		if t.verb == "deletecollection" {
			t.query = d.selection(t.target)
		}
		t.options = d.deletion()
		return true
	}
	if how, ok := strings.CutPrefix(t.verb, "scale "); ok {
		return t.drawScale(d, how)
	}
	return t.drawEdit(d)
}

func (t *trial) drawEdit(d *editor) (ok bool) {
	part := []string{"", "spec", "spec"}[d.rand.IntN(3)]
	if t.verb == "status" {
		part = "status"
	}
	if _, ok := t.stored[1][part]; !ok && part == "spec" {
		part = ""
	}
	from := t.stored[1]
	if slices.Contains([]string{"create", "make", "apply", "conflict"}, t.verb) {
		from = t.object.Object
	}
	t.edit, ok = d.draw(from, part)
	return ok
}

// scaled are the kinds that have a scale.
var scaled = []string{"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"}

func (t *trial) drawScale(d *editor, how string) (ok bool) {
	if !slices.Contains(scaled, t.object.GetKind()) && d.rand.IntN(20) > 0 {
		return false
	}
	if how == "get" {
		t.query, t.accept = d.readQuery(), d.form("")
		return true
	}
	t.edit, ok = d.draw(t.scale(1), "")
	return ok
}

// scale returns the scale of an object as a side has it.
func (t *target) scale(side int) map[string]any {
	stored := unstructured.Unstructured{Object: t.stored[side]}
	replicas, _, _ := unstructured.NestedFieldNoCopy(t.stored[side], "spec", "replicas")
	if replicas == nil {
		replicas = int64(1)
	}
	return map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale",
		"metadata": map[string]any{"name": stored.GetName(), "namespace": stored.GetNamespace(), "uid": string(stored.GetUID()), "resourceVersion": stored.GetResourceVersion()},
		"spec":     map[string]any{"replicas": replicas},
	}
}

// what tells what the request is about.
func (t *trial) what() string {
	switch {
	case t.query == nil:
		return t.edit.String()
	case t.options != nil:
		return "?" + t.query.Encode() + " " + inJSON(t.options)
	}
	return "?" + t.query.Encode() + " as " + t.accept
}

// call is what is sent to a side.
type call struct {
	method, path, contentType string
	query                     string
	body                      any
}

// unstored are the parameters of all writes.
const unstored = "dryRun=All&fieldValidation=Strict&fieldManager=compare"

// send makes the request at both sides, without anything being stored.
func (t *trial) send(ctx context.Context, c *comparison) (said [2]answer, err error) {
	for i, side := range c.sides {
		r := t.request(i)
		var text []byte
		if r.body != nil {
			if text, err = json.Marshal(r.body); err != nil {
				return said, fmt.Errorf("encode %s: %w", t.object.GetName(), err)
			}
		}
		said[i], err = side.answerAs(ctx, r.method, r.path+"?"+r.query, r.contentType, t.accept, text)
		if ctx.Err() != nil {
			return said, err
		} else if err != nil { // a server that panics ends the request
			said[i].body = map[string]any{"message": err.Error()}
		}
		if t.query != nil {
			said[i].body = c.comparable(said[i].body)
		}
	}
	return said, nil
}

func (t *trial) request(side int) call {
	at := t.path + "/" + url.PathEscape(t.object.GetName())
	switch t.verb {
	case "get":
		return call{method: http.MethodGet, path: at, query: t.query.Encode()}
	case "list":
		return call{method: http.MethodGet, path: t.path, query: t.query.Encode()}
	case "delete":
		return call{method: http.MethodDelete, path: at, contentType: jsonType, body: t.options}
	case "deletecollection":
		return call{method: http.MethodDelete, path: t.path, contentType: jsonType, query: t.query.Encode(), body: t.options}
	}
	if how, ok := strings.CutPrefix(t.verb, "scale "); ok {
		return t.scaleRequest(side, how, at+"/scale")
	}
	return t.writeRequest(side, at)
}

func (t *trial) scaleRequest(side int, how, at string) call {
	switch how {
	case "get":
		return call{method: http.MethodGet, path: at, query: t.query.Encode()}
	case "patch":
		return call{http.MethodPatch, at, "application/json-patch+json", unstored, []edit{t.edit}}
	case "merge":
		return call{http.MethodPatch, at, "application/merge-patch+json", unstored, t.edit.apply(t.scale(side))}
	case "apply":
		scale := t.edit.apply(t.scale(side))
		if meta, ok := scale["metadata"].(map[string]any); ok {
			delete(meta, "uid")
			delete(meta, "resourceVersion")
		}
		return call{http.MethodPatch, at, "application/apply-patch+yaml", unstored + "&force=true", scale}
	}
	return call{http.MethodPut, at, jsonType, unstored, t.edit.apply(t.scale(side))}
}

func (t *trial) writeRequest(side int, at string) call {
	switch t.verb {
	case "create", "make":
		other := t.object.GetName() + "-2"
		object := t.edit.apply(t.object.Object)
		if meta, ok := object["metadata"].(map[string]any); ok && meta["name"] == t.object.GetName() {
			meta["name"] = other
		}
		if t.verb == "create" {
			return call{http.MethodPost, t.path, jsonType, unstored, object}
		}
		return call{http.MethodPut, t.path + "/" + url.PathEscape(other), jsonType, unstored, object}
	case "patch":
		return call{http.MethodPatch, at, "application/json-patch+json", unstored, []edit{t.edit}}
	case "apply", "conflict": // by another manager than the object's
		force := "&force=" + strconv.FormatBool(t.verb == "apply")
		return call{http.MethodPatch, at, "application/apply-patch+yaml", unstored + force, t.edit.apply(t.object.Object)}
	case "status":
		at += "/status"
	}
	return call{http.MethodPut, at, jsonType, unstored, t.edit.apply(t.stored[side])}
}
