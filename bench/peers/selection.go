package main

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// forms are what answers can be asked for as, with %s for a list.
var forms = []string{
	jsonType, jsonType,
	"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
	"application/json;as=Table;v=v1beta1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadata%s;v=v1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
	"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
	"application/json;as=Nothing;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v2;g=meta.k8s.io", "text/plain", "*/*",
}

// form draws the form of an answer; suffix is "List" where that is a list.
func (e *editor) form(suffix string) string {
	form := forms[e.rand.IntN(len(forms))]
	return strings.ReplaceAll(form, "%s", suffix)
}

// readQuery draws what goes with the reading of an object.
func (e *editor) readQuery() url.Values {
	q := url.Values{}
	if e.rand.IntN(3) == 0 {
		q.Set("includeObject", []string{"None", "Metadata", "Object", "Nothing", ""}[e.rand.IntN(5)])
	}
	if e.rand.IntN(5) == 0 {
		q.Set("resourceVersion", []string{"0", "a", "-1", ""}[e.rand.IntN(4)])
	}
	return q
}

// listQuery draws what goes with a list.
func (e *editor) listQuery(t *target) url.Values {
	q := e.readQuery()
	maps.Copy(q, e.selection(t))
	if e.rand.IntN(8) == 0 {
		q.Set("resourceVersionMatch", []string{"Exact", "NotOlderThan", "Nothing"}[e.rand.IntN(3)])
	}
	if e.rand.IntN(8) == 0 {
		q.Set([]string{"limit", "timeoutSeconds", "continue", "allowWatchBookmarks", "sendInitialEvents", "watch"}[e.rand.IntN(5)], []string{"a", "-1", "true", "500"}[e.rand.IntN(4)])
	}
	return q
}

// labelSelectors and fieldSelectors are of everything that a selector can be, with
// the names of things that objects have, and some that none has.
var labelSelectors = []string{
	"app", "!app", "app=web", "app==web", "app!=web", "app in (web,api)", "app notin (web)", "app=web,tier=x", "a.b/c=d", "app in (,a)", "app=",
	"app in web", "app=web=x", "a_/b", "-", "app>1", "app<a", "app=web,", ",", "/a", "app=a b", "app=-", "app in ()", "app gt 3",
	"step=one", "step!=one", "step in (two,three)", "!step",
}

var fieldSelectors = []string{
	"metadata.name=rich", "metadata.name!=rich", "metadata.name=", "metadata.namespace=default", "metadata.namespace!=default", "metadata.name==rich,metadata.namespace=default",
	"metadata.uid=a", "metadata.labels.app=web", "spec.nope=a", "a", "=", "=a", "metadata.name", "metadata.name=rich,", ",", "metadata.name=a\\,b", "metadata.name=a,b",
	"spec.nodeName=", "spec.nodeName=n", "spec.restartPolicy=Always", "spec.schedulerName!=x", "spec.serviceAccountName=default", "spec.hostNetwork=false", "status.phase=Pending", "status.phase!=Running", "status.podIP=",
	"status.podIPs=10.0.0.1", "status.nominatedNodeName=", "spec.unschedulable=false", "spec.unschedulable=true", "type=Opaque", "type!=Opaque", "spec.clusterIP=None", "spec.type=ClusterIP",
	"status.replicas=0", "status.successful=0", "status.successful!=0", "spec.replicas=1", "involvedObject.kind=Pod", "involvedObject.name=x", "reason=x", "reportingComponent=x", "source=x",
	"spec.signerName=a", "spec.driver=d.example.com", "spec.pool.name=p", "status.conditions=x", "spec.group=x", "regarding.name=x", "spec.podName=x", "spec.nodeName=node-1,spec.driver=d.example.com",
}

// selection draws selectors.
func (e *editor) selection(t *target) url.Values {
	q := url.Values{}
	if e.rand.IntN(2) == 0 {
		q.Set("labelSelector", labelSelectors[e.rand.IntN(len(labelSelectors))])
	}
	if e.rand.IntN(2) == 0 {
		selector := fieldSelectors[e.rand.IntN(len(fieldSelectors))]
		if e.rand.IntN(3) == 0 {
			selector = "metadata.name=" + t.object.GetName()
		}
		q.Set("fieldSelector", selector)
	}
	return q
}

// deletion draws the options of a deletion of which nothing is done.
func (e *editor) deletion() map[string]any {
	options := map[string]any{"dryRun": []any{"All"}, "kind": "DeleteOptions", "apiVersion": "v1"}
	if e.rand.IntN(2) == 0 {
		options["propagationPolicy"] = []any{"Background", "Foreground", "Orphan", "Nothing", ""}[e.rand.IntN(5)]
	}
	if e.rand.IntN(6) == 0 {
		options["orphanDependents"] = e.rand.IntN(2) == 0
	}
	if e.rand.IntN(4) == 0 {
		options["gracePeriodSeconds"] = []any{int64(0), int64(1), int64(30), int64(-1), int64(-2), "a"}[e.rand.IntN(6)]
	}
	if e.rand.IntN(5) == 0 {
		options["preconditions"] = []any{map[string]any{"uid": "a"}, map[string]any{"resourceVersion": "1"}, map[string]any{}, "a"}[e.rand.IntN(4)]
	}
	if e.rand.IntN(10) == 0 {
		options[[]string{"nothing", "dryRun", "apiVersion", "kind", "ignoreStoreReadErrorWithClusterBreakingPotential"}[e.rand.IntN(5)]] =
			[]any{"a", []any{"All", "a"}, []any{"All"}, "Pod", true}[e.rand.IntN(5)]
	}
	if _, ok := options["dryRun"].([]any); !ok || !slices.Contains(options["dryRun"].([]any), any("All")) {
		options["dryRun"] = []any{"All"} // whatever else, nothing goes
	}
	return options
}

// age is how old something is, as tables show it.
var age = regexp.MustCompile(`^([0-9]+[dhms])+( ago)?$`)

// comparable returns a body without what only one side has: objects of the cluster
// in lists and tables, and the time.
func (c *comparison) comparable(body any) any {
	fields, ok := body.(map[string]any)
	if !ok {
		return body
	}
	if items, ok := fields["items"].([]any); ok {
		fields["items"] = slices.DeleteFunc(items, func(item any) bool {
			object, ok := item.(map[string]any)
			return ok && !c.stored[keyOf(object)]
		})
	}
	rows, ok := fields["rows"].([]any)
	if !ok {
		return body
	}
	withoutDescriptions(fields["columnDefinitions"])
	fields["rows"] = slices.DeleteFunc(rows, func(row any) bool {
		fields, _ := row.(map[string]any)
		if cells, ok := fields["cells"].([]any); ok {
			withoutAges(cells)
		}
		object, ok := fields["object"].(map[string]any)
		if !ok { // not included: the name is the first cell of all kinds
			cells, _ := fields["cells"].([]any)
			return len(cells) > 0 && !c.hasName(cells[0])
		}
		return !c.stored[keyOf(object)]
	})
	return body
}

// withoutDescriptions takes away what columns are said to be, in words of each side.
func withoutDescriptions(columns any) {
	list, _ := columns.([]any)
	for _, column := range list {
		if fields, ok := column.(map[string]any); ok {
			delete(fields, "description")
		}
	}
}

func withoutAges(cells []any) {
	for i, cell := range cells {
		if text, ok := cell.(string); ok && age.MatchString(text) {
			cells[i] = "AGE"
		}
	}
}

// hasName says whether both sides have stored some object of a name.
func (c *comparison) hasName(name any) bool {
	for key := range c.stored {
		if _, after, _ := strings.Cut(key, "/"); after == name {
			return true
		}
	}
	return false
}

// scales are what parts of scales are taken from.
func scales() []map[string]any {
	meta := func(labels map[string]any) map[string]any {
		return map[string]any{"name": "rich", "namespace": "default", "labels": labels, "annotations": map[string]any{"a": "b"}}
	}
	return []map[string]any{
		{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": meta(map[string]any{"a": "b"}), "spec": map[string]any{"replicas": int64(3)},
			"status": map[string]any{"replicas": int64(2), "selector": "a=b"}},
		{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": map[string]any{"name": "other", "uid": "a", "resourceVersion": "1"}, "spec": map[string]any{"replicas": int64(-1)}},
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "rich"}, "spec": map[string]any{}},
		{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": map[string]any{"name": "rich"}, "spec": map[string]any{"replicas": int64(1 << 31)}},
	}
}
