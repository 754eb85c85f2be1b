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
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// shownDifferences is how many differences of an answer are told.
const shownDifferences = 3

// compareManifests sends the objects of manifests to both sides and tells where
// their answers differ: definitions of custom kinds are stored, all else is
// created and applied without being stored. It returns how many answers differ.
func compareManifests(ctx context.Context, o options, out io.Writer) (differing int, err error) {
	all, err := readManifests(o.manifests)
	if err != nil {
		return 0, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p, err := start(ctx, fail, o, compared)
	if err != nil {
		return 0, reason(ctx, err)
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if p.navarch == nil || p.kube == nil {
		return 0, errors.New("manifests are compared on both sides")
	}
	c := &comparison{sides: []*asked{ask(p.navarch), ask(p.kube)}, out: out}
	// Only one side comes with a class, which claims get from then on.
	if _, err := c.sides[0].answer(ctx, http.MethodDelete, "/apis/storage.k8s.io/v1/storageclasses/local-path", "", nil); err != nil {
		return 0, reason(ctx, err)
	}
	if err := c.definitions(ctx, all); err != nil {
		return c.differing, reason(ctx, err)
	}
	if o.edits > 0 {
		err = c.edited(ctx, all, o.edits, o.seed)
	} else {
		err = c.objects(ctx, all)
	}
	if err != nil {
		return c.differing, reason(ctx, err)
	}
	fmt.Fprintf(out, "%d of %d answers differ, to requests with %d objects\n", c.differing, c.answers, len(all))
	return c.differing, nil
}

// asked is a side and what it serves.
type asked struct {
	*server
	client    *http.Client
	resources map[schema.GroupVersionKind]metav1.APIResource
}

func ask(s *server) *asked { return &asked{server: s, client: s.client()} }

// comparison compares answers as they come.
type comparison struct {
	sides              []*asked
	custom             map[schema.GroupVersionKind]bool // kinds that have been defined
	out                io.Writer
	answers, differing int
	// Of edits: how many differences looked alike, and what both sides have stored.
	alike  map[string]int
	stored map[string]bool
}

// definitions stores the definitions of custom kinds on both sides, and waits
// until both serve those that both have taken.
func (c *comparison) definitions(ctx context.Context, all []manifest) error {
	var wanted []schema.GroupVersionKind
	names := make(map[string]bool)
	for _, m := range all {
		if !m.isDefinition() || names[m.object.GetName()] {
			continue
		}
		names[m.object.GetName()] = true
		taken, err := c.send(ctx, m, "create", http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict&fieldManager=compare", "application/json")
		if err != nil {
			return err
		}
		if taken {
			wanted = append(wanted, kindsOf(m.object)...)
		}
	}
	c.custom = make(map[schema.GroupVersionKind]bool)
	for _, kind := range wanted {
		c.custom[kind] = true
	}
	for _, side := range c.sides {
		if err := side.discover(ctx, wanted); err != nil {
			return err
		}
	}
	return nil
}

// kindsOf returns the kinds that a definition serves.
func kindsOf(definition *unstructured.Unstructured) []schema.GroupVersionKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	var out []schema.GroupVersionKind
	for _, v := range versions {
		version, ok := v.(map[string]any)
		if served, _ := version["served"].(bool); !ok || !served {
			continue
		}
		name, _ := version["name"].(string)
		out = append(out, schema.GroupVersionKind{Group: group, Version: name, Kind: kind})
	}
	return out
}

// discover learns what a side serves, once that is all that is wanted.
func (a *asked) discover(ctx context.Context, wanted []schema.GroupVersionKind) error {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(&rest.Config{Host: a.url}, a.client)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			return fmt.Errorf("ask %s what it serves: %w", a.name, err)
		}
		a.resources = make(map[schema.GroupVersionKind]metav1.APIResource)
		for _, list := range lists {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err != nil {
				return fmt.Errorf("ask %s what it serves: %w", a.name, err)
			}
			for _, r := range list.APIResources {
				if !strings.Contains(r.Name, "/") {
					a.resources[gv.WithKind(r.Kind)] = r
				}
			}
		}
		missing := slices.IndexFunc(wanted, func(k schema.GroupVersionKind) bool { _, ok := a.resources[k]; return !ok })
		if missing < 0 {
			return nil
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("%s does not serve %s", a.name, wanted[missing])
		}
	}
}

// path returns where objects of a kind are, and whether the side has such.
func (a *asked) path(object *unstructured.Unstructured) (string, bool) {
	gvk := object.GroupVersionKind()
	resource, ok := a.resources[gvk]
	if !ok {
		return "", false
	}
	path := "/apis/" + object.GetAPIVersion()
	if gvk.Group == "" {
		path = "/api/" + gvk.Version
	}
	if resource.Namespaced {
		path += "/namespaces/" + url.PathEscape(namespaceOf(object))
	}
	return path + "/" + resource.Name, true
}

func namespaceOf(object *unstructured.Unstructured) string {
	if ns := object.GetNamespace(); ns != "" {
		return ns
	}
	return namespace
}

// objects has both sides create and apply all but definitions, in namespaces that
// are there.
func (c *comparison) objects(ctx context.Context, all []manifest) error {
	namespaces := make(map[string]bool)
	for _, m := range all {
		if m.isDefinition() {
			continue
		}
		path, ok := c.sides[0].path(m.object)
		other, known := c.sides[1].path(m.object)
		if !ok || !known || path != other {
			if ok != known {
				c.tell(m, "create", []string{fmt.Sprintf("only one side has the kind: %t, %t", ok, known)})
			}
			continue
		}
		if ns := namespaceOf(m.object); strings.Contains(path, "/namespaces/") && !namespaces[ns] {
			namespaces[ns] = true
			if err := c.prepareNamespace(ctx, ns); err != nil {
				return err
			}
		}
		if _, err := c.send(ctx, m, "create", http.MethodPost, path+"?dryRun=All&fieldValidation=Strict&fieldManager=compare", "application/json"); err != nil {
			return err
		}
		if name := m.object.GetName(); name != "" {
			at := path + "/" + url.PathEscape(name) + "?dryRun=All&force=true&fieldManager=compare"
			if _, err := c.send(ctx, m, "apply", http.MethodPatch, at, "application/apply-patch+yaml"); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepareNamespace makes a namespace with the account that its pods have, which
// one of the sides has no controller to make.
func (c *comparison) prepareNamespace(ctx context.Context, name string) error {
	bodies := map[string]string{
		"/api/v1/namespaces": fmt.Sprintf(`{"metadata":{"name":%q}}`, name),
		"/api/v1/namespaces/" + url.PathEscape(name) + "/serviceaccounts": `{"metadata":{"name":"default"}}`,
	}
	for _, path := range slices.Sorted(maps.Keys(bodies)) {
		for _, side := range c.sides {
			if _, err := side.answer(ctx, http.MethodPost, path, "application/json", []byte(bodies[path])); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer is what a side says to a request.
type answer struct {
	code int
	// body is what is compared: without what is drawn or depends on the time.
	body     any
	sent     []byte // the body as it came
	warnings []string
}

func (a *asked) answer(ctx context.Context, method, path, contentType string, body []byte) (answer, error) {
	return a.answerAs(ctx, method, path, contentType, jsonType, body)
}

// answerAs is answer in the form that the header Accept asks for.
func (a *asked) answerAs(ctx context.Context, method, path, contentType, accept string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", accept)
	resp, err := a.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s at %s: %w", method, path, a.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s at %s: %w", method, path, a.name, err)
	}
	out := answer{code: resp.StatusCode, sent: text, warnings: resp.Header.Values("Warning")}
	if err := json.Unmarshal(withoutChance(text), &out.body); err != nil {
		out.body = string(text)
	}
	return out, nil
}

// chance are parts of answers that are drawn or depend on the time, and names of Go's.
var chance = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`), "kube-api-access"},
	{regexp.MustCompile(`"(time|creationTimestamp|resourceVersion|((batch\.kubernetes\.io/)?job-name))":"[^"]*"`), `"$1":""`},
	{regexp.MustCompile(`"(nodePort|healthCheckNodePort)":[0-9]+`), `"$1":0`},
	{regexp.MustCompile(`X509SHA256=[0-9a-f]+`), "X509SHA256"},
	{regexp.MustCompile(`\(\*[a-z]+\.([A-Za-z]+)\)`), "($1)"},
	{regexp.MustCompile(` in scheme \\"[^"]*\\"`), ""},
	{regexp.MustCompile(`the ResourceVersion in record \([0-9]+\)`), "the ResourceVersion in record"},
	{regexp.MustCompile(`"10\.(96|97)\.[0-9]+\.[0-9]+"`), `"ADDRESS"`},
}

func withoutChance(text []byte) []byte {
	for _, c := range chance {
		text = c.pattern.ReplaceAll(text, []byte(c.with))
	}
	return text
}

// send sends an object to both sides and compares what they say. It returns
// whether both took it.
func (c *comparison) send(ctx context.Context, m manifest, how, method, path, contentType string) (bool, error) {
	body, err := m.object.MarshalJSON()
	if err != nil {
		return false, fmt.Errorf("encode %s of %s: %w", m.object.GetName(), m.file, err)
	}
	var said [2]answer
	for i, side := range c.sides {
		if said[i], err = side.answer(ctx, method, path, contentType, body); err != nil {
			return false, err
		}
	}
	c.answers++
	if found := differences(said[0], said[1], m); len(found) > 0 {
		c.tell(m, how, found)
	}
	return said[0].code < http.StatusMultipleChoices && said[1].code < http.StatusMultipleChoices, nil
}

func (c *comparison) tell(m manifest, how string, found []string) {
	c.differing++
	fmt.Fprintf(c.out, "%s: %s %s %s\n", m.file, how, m.object.GetKind(), m.object.GetName())
	for _, f := range found[:min(len(found), shownDifferences)] {
		fmt.Fprintf(c.out, "    %.600s\n", f)
	}
}

// differences returns how Navarch's answer differs from kube-apiserver's.
func differences(navarch, kube answer, m manifest) []string {
	var out []string
	if navarch.code != kube.code {
		out = append(out, fmt.Sprintf("code: Navarch %d %s | Kubernetes %d %s", navarch.code, message(navarch), kube.code, message(kube)))
	}
	if !slices.Equal(navarch.warnings, kube.warnings) {
		out = append(out, fmt.Sprintf("warnings: Navarch %q | Kubernetes %q", navarch.warnings, kube.warnings))
	}
	if navarch.code != kube.code {
		return out // the bodies are about different things
	}
	for _, body := range []any{navarch.body, kube.body} {
		fields, ok := body.(map[string]any)
		if !ok {
			continue
		}
		if meta, ok := fields["metadata"].(map[string]any); ok && m.object.GetName() == "" {
			delete(meta, "name") // it is generated
		}
		if m.isDefinition() {
			delete(fields, "status") // it is a controller's
		}
	}
	if x, y := causesOf(navarch), causesOf(kube); len(x) > 0 && len(y) > 0 {
		return append(out, onlyOne(x, y)...)
	}
	return append(out, unlike("", navarch.body, kube.body)...)
}

// goValues are objects in messages, of which Kubernetes shows the Go type that it
// has them in. Below a message it shows the change that it refuses so.
var goValues = regexp.MustCompile(`(Invalid|Unsupported|Duplicate) value: ([{\[].*[}\]]|"\{.*(\}|…)"|null)(: |$)`)

// causesOf returns what a Status says is wrong, in no order.
func causesOf(a answer) []string {
	status, _ := a.body.(map[string]any)
	details, _ := status["details"].(map[string]any)
	causes, _ := details["causes"].([]any)
	var out []string
	for _, c := range causes {
		cause, _ := c.(map[string]any)
		text, _, _ := strings.Cut(fmt.Sprintf("%v %v", cause["field"], cause["message"]), "\n")
		out = append(out, goValues.ReplaceAllString(text, "$1 value: {}$4"))
	}
	slices.Sort(out)
	return out
}

// onlyOne returns the causes that only one of the sides has told.
func onlyOne(navarch, kube []string) []string {
	var out []string
	for _, c := range navarch {
		if !slices.Contains(kube, c) {
			out = append(out, "only Navarch: "+c)
		}
	}
	for _, c := range kube {
		if !slices.Contains(navarch, c) {
			out = append(out, "only Kubernetes: "+c)
		}
	}
	return out
}

func message(a answer) string {
	fields, _ := a.body.(map[string]any)
	text, _ := fields["message"].(string)
	return text
}

// unlike returns where two JSON values differ.
func unlike(at string, a, b any) []string {
	if x, ok := a.(map[string]any); ok {
		if y, ok := b.(map[string]any); ok {
			var out []string
			names := maps.Clone(x)
			maps.Copy(names, y)
			for _, name := range slices.Sorted(maps.Keys(names)) {
				out = append(out, unlike(at+"."+name, x[name], y[name])...)
			}
			return out
		}
	}
	if x, ok := a.([]any); ok {
		if y, ok := b.([]any); ok && len(x) == len(y) {
			var out []string
			for i := range x {
				out = append(out, unlike(fmt.Sprintf("%s[%d]", at, i), x[i], y[i])...)
			}
			return out
		}
	}
	if reflect.DeepEqual(a, b) {
		return nil
	}
	return []string{fmt.Sprintf("%s: Navarch %s | Kubernetes %s", at, inJSON(a), inJSON(b))}
}

func inJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
