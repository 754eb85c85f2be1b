package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// perKind is how many objects of a kind are stored and edited.
const perKind = 12

// edited compares what both sides say to edited objects of built-in kinds. Of
// each it stores some on both, and sends requests with random edits that are
// not stored: creations, updates, also of what is not there, patches, applies with
// and without force, and updates of the status. Of
// differences that look alike it tells one, and at the end how many there were.
func (c *comparison) edited(ctx context.Context, all []manifest, count int, seed uint64) error {
	d := newEditor(seed, all)
	stored, err := c.store(ctx, all)
	if err != nil || len(stored) == 0 {
		return err
	}
	alike := make(map[string]int)
	for range count {
		t := &trial{target: stored[d.rand.IntN(len(stored))]}
		if !t.draw(d) {
			continue
		}
		said, err := t.send(ctx, c)
		if err != nil {
			return err
		}
		c.answers++
		found := differences(said[0], said[1], manifest{object: t.object})
		if len(found) == 0 {
			continue
		}
		key := t.verb + " " + t.object.GetKind() + " " + generic(found[0])
		if alike[key]++; alike[key] == 1 {
			c.tell(manifest{file: t.verb, object: t.object}, t.edit.String(), found)
		} else {
			c.differing++
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(alike), func(a, b string) int { return alike[b] - alike[a] }) {
		fmt.Fprintf(c.out, "%5d %.200s\n", alike[key], key)
	}
	return nil
}

var particular = regexp.MustCompile(`\[[^\]]*\]|"(\\.|[^"\\])*"|[0-9]+`)

// generic returns a difference without the values in it.
func generic(difference string) string { return particular.ReplaceAllString(difference, "") }

// target is an object that both sides have stored.
type target struct {
	path   string // of the kind
	object *unstructured.Unstructured
	// stored is the object as each side has it.
	stored [2]map[string]any
}

// store creates objects on both sides.
func (c *comparison) store(ctx context.Context, all []manifest) ([]*target, error) {
	var out []*target
	kinds, names := make(map[string]int), make(map[string]bool)
	for _, m := range all {
		kind := m.object.GroupVersionKind().String()
		path, ok := c.sides[0].path(m.object)
		other, known := c.sides[1].path(m.object)
		key := path + " " + m.object.GetName()
		if !ok || !known || path != other || m.isDefinition() || c.custom[m.object.GroupVersionKind()] || m.object.GetName() == "" || kinds[kind] >= perKind || names[key] {
			continue
		}
		if strings.Contains(path, "/namespaces/") {
			if err := c.prepareNamespace(ctx, namespaceOf(m.object)); err != nil {
				return nil, err
			}
		}
		body, err := m.object.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("encode %s of %s: %w", m.object.GetName(), m.file, err)
		}
		t := &target{path: path, object: m.object}
		taken := true
		for i, side := range c.sides {
			said, err := side.answer(ctx, http.MethodPost, path, "application/json", body)
			if err != nil {
				return nil, err
			}
			if taken = taken && said.code == http.StatusCreated; !taken {
				continue
			}
			if err := json.Unmarshal(said.sent, &t.stored[i]); err != nil {
				return nil, fmt.Errorf("%s of %s as %s has it: %w", m.object.GetName(), m.file, side.name, err)
			}
			taken = t.stored[i]["metadata"] != nil
		}
		if taken {
			kinds[kind]++
			names[key] = true
			out = append(out, t)
		}
	}
	return out, nil
}

// trial is a request with an edit.
type trial struct {
	*target
	verb string
	edit edit
}

// verbs are what is sent: "make" is an update of an object that is not there, and
// "conflict" applies what others have without taking it over.
var verbs = []string{"create", "make", "update", "patch", "apply", "conflict", "status"}

// draw decides for a request, and returns whether there is one to make.
func (t *trial) draw(d *editor) bool {
	t.verb = verbs[d.rand.IntN(len(verbs))]
	part := []string{"", "spec", "spec"}[d.rand.IntN(3)]
	if t.verb == "status" {
		part = "status"
	}
	if _, ok := t.stored[1][part]; !ok && part == "spec" {
		part = ""
	}
	var ok bool
	if slices.Contains([]string{"create", "make", "apply", "conflict"}, t.verb) {
		t.edit, ok = d.draw(t.object.Object, part)
	} else {
		t.edit, ok = d.draw(t.stored[1], part)
	}
	return ok
}

// send makes the request at both sides, without anything being stored.
func (t *trial) send(ctx context.Context, c *comparison) (said [2]answer, err error) {
	const query = "?dryRun=All&fieldValidation=Strict&fieldManager=compare"
	at := t.path + "/" + url.PathEscape(t.object.GetName())
	for i, side := range c.sides {
		method, path, contentType, force := http.MethodPut, at, "application/json", ""
		var body any = t.edit.apply(t.stored[i])
		switch t.verb {
		case "create", "make":
			other := t.object.GetName() + "-2"
			object := t.edit.apply(t.object.Object)
			if meta, ok := object["metadata"].(map[string]any); ok && meta["name"] == t.object.GetName() {
				meta["name"] = other
			}
			body, path = object, t.path+"/"+url.PathEscape(other)
			if t.verb == "create" {
				method, path = http.MethodPost, t.path
			}
		case "patch":
			method, contentType = http.MethodPatch, "application/json-patch+json"
			body = []edit{t.edit}
		case "apply", "conflict": // by another manager than the object's
			method, contentType = http.MethodPatch, "application/apply-patch+yaml"
			body = t.edit.apply(t.object.Object)
			force = "&force=" + strconv.FormatBool(t.verb == "apply")
		case "status":
			path += "/status"
		}
		text, err := json.Marshal(body)
		if err != nil {
			return said, fmt.Errorf("encode %s: %w", t.object.GetName(), err)
		}
		if said[i], err = side.answer(ctx, method, path+query+force, contentType, text); ctx.Err() != nil {
			return said, err
		} else if err != nil { // a server that panics ends the request
			said[i].body = map[string]any{"message": err.Error()}
		}
	}
	return said, nil
}
