package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway"
	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/identity"
)

// audited runs a gateway that audits by a policy, and returns what stops it and
// reads the log.
func audited(t *testing.T, rules string) (*cluster, func() []audit.Event) {
	t.Helper()
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	stop := c.serve(noNodes{}, func(cfg *gateway.Config) { cfg.Audit = audit.Config{PolicyFile: policy, LogPath: log} })
	return c, func() []audit.Event {
		t.Helper()
		stop()
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		var events []audit.Event
		for line := range bytes.Lines(text) {
			var e audit.Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			events = append(events, e)
		}
		return events
	}
}

// summaryOf says in a line what an event says.
func summaryOf(e *audit.Event) string {
	s := fmt.Sprintf("%s %s %s", e.Stage, e.User.Username, e.Verb)
	if ref := e.ObjectRef; ref != nil {
		s += fmt.Sprintf(" %s/%s/%s/%s %s/%s", ref.APIGroup, ref.APIVersion, ref.Resource, ref.Subresource, ref.Namespace, ref.Name)
	}
	if st := e.ResponseStatus; st != nil {
		s += fmt.Sprintf(" %d %s", st.Code, st.Reason)
	}
	return strings.TrimSpace(s + " " + e.Annotations["authorization.k8s.io/decision"])
}

func summaries(events []audit.Event) []string {
	var out []string
	for i := range events {
		out = append(out, summaryOf(&events[i]))
	}
	return out
}

// TestAudit: every request that the policy is about leaves its events, whoever
// makes it and however it ends.
func TestAudit(t *testing.T) {
	t.Parallel()
	c, log := audited(t, `
- {level: None, users: [silent]}
- {level: None, verbs: [list], omitStages: []}
- {level: Metadata, omitStages: [RequestReceived]}
`)
	const configMaps = "/api/v1/namespaces/default/configmaps"
	admin := c.http("admin")
	c.do(c.http("silent"), "GET", configMaps+"/a", nil)
	c.do(admin, "GET", configMaps, nil)
	made := c.do(admin, "POST", configMaps, strings.NewReader(`{"metadata":{"name":"a"}}`), "Audit-Id", "mine")
	if made.code != 201 || made.header.Get("Audit-Id") != "mine" {
		t.Errorf("%d, audit id %q", made.code, made.header.Get("Audit-Id"))
	}
	c.do(admin, "GET", configMaps+"/b", nil)
	c.do(admin, "DELETE", configMaps+"/a", nil)
	c.do(c.http("stranger"), "GET", configMaps+"/a", nil)
	c.do(c.http("stranger"), "GET", "/apis", nil)
	c.do(admin, "GET", "/apis", nil)
	c.do(admin, "GET", "/nowhere?x=1", nil)
	c.do(c.http(""), "GET", configMaps+"/a", nil, "Authorization", "Bearer good")
	c.do(c.http(""), "GET", configMaps+"/a", nil, "Authorization", "Bearer bad")
	c.do(c.http(""), "GET", "/api/v1/nodes/n1", nil)
	c.do(admin, "PUT", configMaps+"/a/status/x", nil)
	for range 2 { // the first makes it
		c.do(admin, "PUT", "/api/v1/namespaces/default/limitranges/l", strings.NewReader(`{"metadata":{"name":"l"}}`))
	}
	events := log()
	want := []string{
		"ResponseComplete admin create /v1/configmaps/ default/a 201  allow",
		"ResponseComplete admin get /v1/configmaps/ default/b 404 NotFound allow",
		"ResponseComplete admin delete /v1/configmaps/ default/a 200  allow",
		"ResponseComplete stranger get /v1/configmaps/ default/a 403 Forbidden forbid",
		"ResponseComplete stranger get 403 Forbidden forbid",
		"ResponseComplete admin get 200  allow",
		"ResponseComplete admin get 404",
		"ResponseComplete robot get /v1/configmaps/ default/a 404 NotFound allow",
		"ResponseStarted  get /v1/configmaps/ default/a 401 Unauthorized",
		"ResponseComplete system:anonymous get /v1/nodes/ /n1 403 Forbidden forbid",
		"ResponseComplete admin update /v1/configmaps/status default/a 404",
		"ResponseComplete admin update /v1/limitranges/ default/l 201  allow",
		"ResponseComplete admin update /v1/limitranges/ default/l 200  allow",
	}
	if diff := cmp.Diff(want, summaries(events)); diff != "" {
		t.Fatalf("the events differ (-want +got):\n%s", diff)
	}
	first, third := events[0], events[2]
	if first.Kind != "Event" || first.APIVersion != "audit.k8s.io/v1" || first.Level != audit.Metadata || first.AuditID != "mine" || first.RequestURI != configMaps ||
		!slices.Equal(first.SourceIPs, []string{"127.0.0.1"}) || first.UserAgent != "Go-http-client/1.1" || first.RequestObject != nil || first.ResponseObject != nil ||
		first.RequestReceivedTimestamp.IsZero() || first.StageTimestamp.Before(&first.RequestReceivedTimestamp) {
		t.Errorf("the first event is %+v", first)
	}
	if third.ResponseStatus.Status != "Success" || third.ResponseStatus.Details.Name != "a" {
		t.Errorf("the deletion's status is %+v", third.ResponseStatus)
	}
	if events[6].RequestURI != "/nowhere?x=1" {
		t.Errorf("the path is %q", events[6].RequestURI)
	}
}

// TestAuditedObjects: objects are recorded in JSON, whatever the client speaks.
func TestAuditedObjects(t *testing.T) {
	t.Parallel()
	c, log := audited(t, `
- level: RequestResponse
  omitStages: [RequestReceived]
  omitManagedFields: true
  resources: [{resources: [configmaps]}]
- level: Request
  omitStages: [RequestReceived]
`)
	const configMaps = "/api/v1/namespaces/default/configmaps"
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, strings.NewReader("metadata: {name: a}\ndata: {k: v}\n"), "Content-Type", "application/yaml", "Accept", "application/vnd.kubernetes.protobuf")
	c.do(admin, "PATCH", configMaps+"/a", strings.NewReader(`{"data":{"k":"w"}}`), "Content-Type", "application/merge-patch+json", "Accept", "application/yaml")
	c.do(admin, "GET", configMaps, nil, "Accept-Encoding", "gzip")
	c.do(admin, "POST", configMaps, strings.NewReader(`{"metadata":{"name":"a"}}`))
	c.do(admin, "POST", configMaps, strings.NewReader(`{"meta`))
	c.do(admin, "POST", "/api/v1/namespaces", strings.NewReader(`{"metadata":{"name":"n"}}`))
	events := log()
	if len(events) != 6 {
		t.Fatalf("%d events: %q", len(events), summaries(events))
	}
	for i, want := range []struct{ request, response string }{
		{`{"data":{"k":"v"},"metadata":{"name":"a"}}`, `"data":{"k":"v"}`},
		{`{"data":{"k":"w"}}`, `"data":{"k":"w"}`},
		{"", `"kind":"ConfigMapList"`},
		{`{"metadata":{"name":"a"}}`, `"reason":"AlreadyExists"`},
		{"", `"reason":"BadRequest"`},
		{`{"metadata":{"name":"n"}}`, ""},
	} {
		e := events[i]
		if string(e.RequestObject) != want.request || (want.response == "") != (e.ResponseObject == nil) || !strings.Contains(string(e.ResponseObject), want.response) {
			t.Errorf("event %d has the objects %s\nand %s", i, e.RequestObject, e.ResponseObject)
		}
		if strings.Contains(string(e.ResponseObject), "managedFields") {
			t.Errorf("event %d has managed fields", i)
		}
	}
}

// TestAuditedWatch: a watch is recorded when its answer begins, with what was
// decided about it.
func TestAuditedWatch(t *testing.T) {
	t.Parallel()
	c, log := audited(t, "- level: RequestResponse\n")
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/api/v1/namespaces/default/configmaps?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http("admin").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	c.do(c.http("admin"), "POST", "/api/v1/namespaces/default/configmaps", strings.NewReader(`{"metadata":{"name":"a"}}`))
	if _, err := bufio.NewReader(resp.Body).ReadBytes('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	var got []string
	for _, e := range log() {
		if e.Verb == "watch" {
			got = append(got, summaryOf(&e))
			if e.ResponseObject != nil {
				t.Errorf("the events of a watch are recorded: %s", e.ResponseObject)
			}
		}
	}
	want := []string{
		"RequestReceived admin watch /v1/configmaps/ default/",
		"ResponseStarted admin watch /v1/configmaps/ default/ 200  allow",
		"ResponseComplete admin watch /v1/configmaps/ default/ 200  allow",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the events differ (-want +got):\n%s", diff)
	}
}

// Impersonate lets the harness' users act as the deputy.
func (allow) Impersonate(_ context.Context, user, wanted identity.Identity) (identity.Identity, error) {
	if wanted.Name != "deputy" {
		return identity.Identity{}, apierrors.NewForbidden(schema.GroupResource{Resource: "users"}, wanted.Name, fmt.Errorf("%s may not", user.Name))
	}
	return identity.Identity{Name: wanted.Name, Groups: append(wanted.Groups, identity.GroupAuthenticated)}, nil
}

// TestAuditedImpersonation: an event has both users.
func TestAuditedImpersonation(t *testing.T) {
	t.Parallel()
	c, log := audited(t, "- {level: Metadata, users: [admin], omitStages: [RequestReceived]}\n")
	c.do(c.http("admin"), "GET", "/api/v1/namespaces/default", nil, "Impersonate-User", "deputy", "Impersonate-Group", "devs")
	events := log()
	if len(events) != 1 {
		t.Fatalf("%d events: %q", len(events), summaries(events))
	}
	want := &authenticationv1.UserInfo{Username: "deputy", Groups: []string{"devs", identity.GroupAuthenticated}}
	if diff := cmp.Diff(want, events[0].ImpersonatedUser); diff != "" || events[0].User.Username != "admin" {
		t.Errorf("it was %+v as (-want +got):\n%s", events[0].User, diff)
	}
}
