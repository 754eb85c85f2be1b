package audit

import (
	"strings"
	"testing"

	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func TestInvalidPolicies(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no YAML", "{", "read the audit policy"},
		{"an unknown field", head + "rules: [{level: None, user: [x]}]", `unknown field "user"`},
		{"another kind", "apiVersion: audit.k8s.io/v1\nkind: Event\nrules: [{level: None}]", `kind: Unsupported value: "Event": supported values: "Policy"`},
		{"another version", "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", `apiVersion: Unsupported value: "audit.k8s.io/v1beta1": supported values: "audit.k8s.io/v1"`},
		{"no rules", head, "rules: Required value"},
		{"no level", head + "rules: [{users: [x]}]", "rules[0].level: Required value"},
		{"an unknown level", head + "rules: [{level: None}, {level: All}]", `rules[1].level: Unsupported value: "All": supported values: "None", "Metadata", "Request", "RequestResponse"`},
		{"an unknown stage", head + "omitStages: [Begun]\nrules: [{level: None}]", `omitStages[0]: Unsupported value: "Begun"`},
		{"an unknown stage of a rule", head + "rules: [{level: None, omitStages: [Panic, Begun]}]", `rules[0].omitStages[1]: Unsupported value: "Begun"`},
		{"a relative path", head + "rules: [{level: None, nonResourceURLs: [healthz]}]", `rules[0].nonResourceURLs[0]: Invalid value: "healthz": must begin with a /`},
		{"a star within", head + "rules: [{level: None, nonResourceURLs: ['/a*b']}]", `rules[0].nonResourceURLs[0]: Invalid value: "/a*b": * may only be the last character`},
		{"an empty path", head + "rules: [{level: None, nonResourceURLs: ['']}]", `rules[0].nonResourceURLs[0]: Invalid value: ""`},
		{"both kinds of paths", head + "rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [x]}]", "rules[0].nonResourceURLs: Invalid value"},
		{"a group with a version", head + "rules: [{level: None, resources: [{group: apps/v1}]}]", `rules[0].resources[0].group: Invalid value: "apps/v1"`},
		{"names of nothing", head + "rules: [{level: None, resources: [{resourceNames: [x]}]}]", "rules[0].resources[0].resourceNames: Invalid value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ParsePolicy([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestRules(t *testing.T) {
	jane := identity.Identity{Name: "jane", Groups: []string{"devs", "system:authenticated"}}
	on := func(verb, group, resource, subresource, namespace, name string) *storev1.AuthorizeRequest {
		return &storev1.AuthorizeRequest{Verb: verb, Resource: &storev1.Resource{Group: group, Version: "v1", Resource: resource}, Subresource: subresource, Namespace: namespace, Name: name}
	}
	path := func(path string) *storev1.AuthorizeRequest { return &storev1.AuthorizeRequest{Verb: "get", Path: path} }
	pod, logs := on("get", "", "pods", "", "default", "web"), on("get", "", "pods", "log", "default", "web")
	for _, tc := range []struct {
		name  string
		rule  string
		asked *storev1.AuthorizeRequest
		want  bool
	}{
		{"any", "", pod, true},
		{"any, of a path", "", path("/healthz"), true},
		{"the user", "users: [joe, jane]", pod, true},
		{"another user", "users: [joe]", pod, false},
		{"a group", "userGroups: [ops, devs]", pod, true},
		{"another group", "userGroups: [ops]", pod, false},
		{"the verb", "verbs: [get]", pod, true},
		{"another verb", "verbs: [list]", pod, false},
		{"the namespace", "namespaces: [default]", pod, true},
		{"another namespace", "namespaces: [kube-system]", pod, false},
		{"no namespace", "namespaces: ['']", on("get", "", "nodes", "", "", "n1"), true},
		{"a namespace, of a path", "namespaces: ['']", path("/healthz"), false},
		{"the group", "resources: [{group: ''}]", pod, true},
		{"any group", "resources: [{group: '*'}]", on("get", "apps", "deployments", "", "default", "x"), true},
		{"another group's resources", "resources: [{group: apps}]", pod, false},
		{"the resource", "resources: [{resources: [pods]}]", pod, true},
		{"the second resource", "resources: [{group: apps}, {resources: [nodes, pods]}]", pod, true},
		{"the resource without what is below", "resources: [{resources: [pods]}]", logs, false},
		{"what is below", "resources: [{resources: [pods/log]}]", logs, true},
		{"all that is below", "resources: [{resources: ['pods/*']}]", logs, true},
		{"all that is below, and itself", "resources: [{resources: ['pods/*']}]", pod, true},
		{"of every resource", "resources: [{resources: ['*/log']}]", logs, true},
		{"of every resource, not itself", "resources: [{resources: ['*/log']}]", pod, false},
		{"all resources", "resources: [{resources: ['*']}]", logs, true},
		{"the name", "resources: [{resources: [pods], resourceNames: [web]}]", pod, true},
		{"another name", "resources: [{resources: [pods], resourceNames: [db]}]", pod, false},
		{"the path", "nonResourceURLs: [/healthz]", path("/healthz"), true},
		{"another path", "nonResourceURLs: [/healthz]", path("/healthz/etcd"), false},
		{"a path below", "nonResourceURLs: ['/healthz*']", path("/healthz/etcd"), true},
		{"any path", "nonResourceURLs: ['*']", path("/healthz"), true},
		{"a path, of a resource", "nonResourceURLs: ['*']", pod, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := ParsePolicy([]byte(head + "rules:\n- level: Metadata\n  " + tc.rule + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := p.judge(jane, tc.asked).level == Metadata; got != tc.want {
				t.Errorf("it matches: %v", got)
			}
		})
	}
}

func TestFirstRuleDecides(t *testing.T) {
	p, err := ParsePolicy([]byte(head + `
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [robot]}
- {level: RequestResponse, users: [jane], omitStages: [Panic], omitManagedFields: false}
- {level: Metadata}
`))
	if err != nil {
		t.Fatal(err)
	}
	asked := &storev1.AuthorizeRequest{Verb: "get", Path: "/"}
	if v := p.judge(identity.Identity{Name: "robot"}, asked); v.level != None {
		t.Errorf("the robot: %+v", v)
	}
	jane := p.judge(identity.Identity{Name: "jane"}, asked)
	if !jane.records(Request) || !jane.records(RequestResponse) || jane.omitManagedFields || !jane.omitted(Panic) || !jane.omitted(RequestReceived) || jane.omitted(ResponseComplete) {
		t.Errorf("jane: %+v", jane)
	}
	joe := p.judge(identity.Identity{Name: "joe"}, asked)
	if !joe.records(Metadata) || joe.records(Request) || !joe.omitManagedFields || joe.omitted(Panic) {
		t.Errorf("joe: %+v", joe)
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(head + "rules: [{level: Metadata, resources: [{group: '*', resources: ['*/log']}], omitStages: [Panic]}]"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		for _, asked := range []*storev1.AuthorizeRequest{{Verb: "get", Path: "/"}, {Verb: "get", Resource: &storev1.Resource{Resource: "pods"}, Subresource: "log"}} {
			if v := p.judge(identity.Identity{Name: "x", Groups: []string{"y"}}, asked); !v.records(None) {
				t.Errorf("the level is %q", v.level)
			}
		}
	})
}
