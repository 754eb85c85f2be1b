package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// editsPerWatch is how many requests with edits are made for each time that watches
	// are compared.
	editsPerWatch = 500
	// watchesPerTime is how many watches there are each time on a side.
	watchesPerTime = 10
)

// watching is a watch: what it asks for, and in which form.
type watching struct {
	query  url.Values
	accept string
}

// watched makes an object like another on both sides, changes and deletes it for
// good, and compares what watches of its kind tell of that.
func (c *comparison) watched(ctx context.Context, d *editor, t *target) error {
	var all []watching
	for range watchesPerTime {
		q := d.selection(t)
		if d.rand.IntN(3) == 0 {
			q.Set("includeObject", []string{"None", "Metadata", "Object"}[d.rand.IntN(3)])
		}
		q.Set("watch", "true")
		q.Set("timeoutSeconds", "2")
		all = append(all, watching{q, d.form("")})
	}
	changes := t.changes(d)
	var told [2][]answer
	var codes [2][]int
	var group sync.WaitGroup
	var errs [2]error
	for i, side := range c.sides {
		group.Go(func() { told[i], codes[i], errs[i] = side.tells(ctx, t.path, all, changes) })
	}
	group.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	for i, r := range changes.all {
		if codes[0][i] != codes[1][i] {
			c.found("change", inJSON(r.body), t.object, []string{fmt.Sprintf("code: Navarch %d | Kubernetes %d", codes[0][i], codes[1][i])})
			return nil // what follows differs for that reason
		}
	}
	for i, w := range all {
		for side := range told {
			c.known(&told[side][i], changes.name)
		}
		c.found("watch", "?"+w.query.Encode()+" as "+w.accept, t.object, differences(told[0][i], told[1][i], manifest{object: t.object}))
	}
	return nil
}

// changes are requests about one object, of which things are told.
type changes struct {
	name string
	all  []call
}

// changes returns the creation of an object, changes of its labels and annotations,
// some at random, and its deletion.
func (t *target) changes(d *editor) changes {
	object := (&unstructured.Unstructured{Object: t.object.Object}).DeepCopy()
	name := object.GetName() + "-w"
	object.SetName(name)
	at := t.path + "/" + url.PathEscape(name)
	const query = "fieldManager=compare"
	patch := func(path string, value any) call {
		return call{http.MethodPatch, at, "application/json-patch+json", query, []edit{{Op: "add", Path: path, Value: value}}}
	}
	out := []call{
		{http.MethodPost, t.path, jsonType, query, object.Object},
		patch("/metadata/labels", map[string]any{"step": "one"}),
		patch("/metadata/annotations", map[string]any{"a": "b"}),
		patch("/metadata/labels", map[string]any{"step": "two", "app": "web"}),
		patch("/metadata/annotations", map[string]any{"a": "b"}), // nothing changes
	}
	for range 3 {
		if e, ok := d.draw(object.Object, []string{"", "spec"}[d.rand.IntN(2)]); ok {
			out = append(out, call{http.MethodPatch, at, "application/json-patch+json", query, []edit{e}})
		}
	}
	return changes{name, append(out, patch("/metadata/finalizers", []any{}),
		call{http.MethodDelete, at, jsonType, "", map[string]any{"gracePeriodSeconds": int64(0), "propagationPolicy": "Background"}})}
}

// tells makes changes on a side, and returns what watches from before them tell, and
// the codes of the changes.
func (a *asked) tells(ctx context.Context, path string, all []watching, changes changes) ([]answer, []int, error) {
	now, err := a.answer(ctx, http.MethodGet, path+"?limit=1", "", nil)
	if err != nil {
		return nil, nil, err
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(now.sent, &list); err != nil {
		return nil, nil, fmt.Errorf("list %s at %s: %w", path, a.name, err)
	}
	out, errs := make([]answer, len(all)), make([]error, len(all))
	var group sync.WaitGroup
	for i, w := range all {
		q := maps.Clone(w.query)
		q.Set("resourceVersion", list.Metadata.ResourceVersion)
		group.Go(func() { out[i], errs[i] = a.answerAs(ctx, http.MethodGet, path+"?"+q.Encode(), "", w.accept, nil) })
	}
	var codes []int
	for _, r := range changes.all {
		body, err := json.Marshal(r.body)
		if err != nil {
			return nil, nil, fmt.Errorf("encode a change of %s: %w", changes.name, err)
		}
		said, err := a.answer(ctx, r.method, r.path+"?"+r.query, r.contentType, body)
		if err != nil {
			return nil, nil, err
		}
		codes = append(codes, said.code)
	}
	group.Wait()
	return out, codes, errors.Join(errs...)
}

// known keeps of a watch's answer the events of an object of a name.
func (c *comparison) known(a *answer, name string) {
	if a.code != http.StatusOK {
		return
	}
	var events []any
	decoder := json.NewDecoder(bytes.NewReader(withoutChance(a.sent)))
	for {
		var event map[string]any
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			events = append(events, "not JSON: "+err.Error())
			break
		}
		if object, ok := event["object"].(map[string]any); ok && isOf(object, name) {
			events = append(events, event)
		}
	}
	a.body = map[string]any{"events": events}
}

// isOf says whether an object, or the only row of a table, has a name. Rows that are
// without their objects begin with it.
func isOf(object map[string]any, name string) bool {
	rows, ok := object["rows"].([]any)
	withoutDescriptions(object["columnDefinitions"])
	if !ok {
		u := unstructured.Unstructured{Object: object}
		return u.GetName() == name
	}
	for _, row := range rows {
		fields, _ := row.(map[string]any)
		cells, _ := fields["cells"].([]any)
		withoutAges(cells)
		if len(cells) > 0 && cells[0] == name {
			return true
		}
	}
	return false
}
