package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// perKind is how many objects of a kind are stored and edited.
const perKind = 12

// edited compares what both sides say to edited objects of built-in kinds. Of
// each it stores some on both, and sends requests with random edits that are
// not stored (see verbs), with reads among them; then it changes some objects for
// good, and compares what watches tell of that. Of differences that look alike it
// tells one, and at the end how many there were.
func (c *comparison) edited(ctx context.Context, all []manifest, count int, seed uint64) error {
	d := newEditor(seed, all)
	stored, err := c.store(ctx, all)
	if err != nil || len(stored) == 0 {
		return err
	}
	c.alike = make(map[string]int)
	c.stored = namesOf(stored)
	for range count {
		t := &trial{target: stored[d.rand.IntN(len(stored))]}
		if !t.draw(d) {
			continue
		}
		said, err := t.send(ctx, c)
		if err != nil {
			return err
		}
		c.found(t.verb, t.what(), t.object, differences(said[0], said[1], manifest{object: t.object}))
	}
	for range count / editsPerWatch {
		if err := c.watched(ctx, d, stored[d.rand.IntN(len(stored))]); err != nil {
			return err
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(c.alike), func(a, b string) int { return c.alike[b] - c.alike[a] }) {
		fmt.Fprintf(c.out, "%5d %.200s\n", c.alike[key], key)
	}
	return nil
}

// found counts an answer, and tells how it differs unless another did alike.
func (c *comparison) found(verb, what string, object *unstructured.Unstructured, differences []string) {
	c.answers++
	if len(differences) == 0 {
		return
	}
	key := verb + " " + object.GetKind() + " " + generic(differences[0])
	if c.alike[key]++; c.alike[key] == 1 {
		c.tell(manifest{file: verb, object: object}, what, differences)
	} else {
		c.differing++
	}
}

// namesOf returns the namespaces and names of objects that both sides have.
func namesOf(stored []*target) map[string]bool {
	out := make(map[string]bool)
	for _, t := range stored {
		for _, object := range t.stored {
			out[keyOf(object)] = true
		}
	}
	return out
}

// keyOf returns an object's namespace and name.
func keyOf(object map[string]any) string {
	u := unstructured.Unstructured{Object: object}
	return u.GetNamespace() + "/" + u.GetName()
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
