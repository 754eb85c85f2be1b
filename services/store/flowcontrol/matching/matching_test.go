package matching

import (
	"strings"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// request reads "user group,group verb group/resource/subresource namespace", or
// a path in the place of the last two. "-" is nothing.
func request(text string) *access.Attributes {
	f := strings.Fields(text)
	a := &access.Attributes{User: identity.Identity{Name: f[0], Groups: strings.Split(f[1], ",")}, Verb: f[2]}
	if strings.HasPrefix(f[3], "/") {
		a.Path = f[3]
		return a
	}
	parts := strings.Split(f[3]+"//", "/")
	a.Group, a.Resource, a.Subresource = parts[0], parts[1], parts[2]
	if a.Group == "core" {
		a.Group = ""
	}
	if a.Namespace = f[4]; a.Namespace == "-" {
		a.Namespace = ""
	}
	return a
}

func TestMatches(t *testing.T) {
	const everything = "resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}], nonResourceRules: [{verbs: ['*'], nonResourceURLs: ['*']}]"
	subject := func(s string) string { return "[{subjects: [" + s + "], " + everything + "}]" }
	anybody := func(rules string) string {
		return "[{subjects: [{kind: Group, group: {name: '*'}}], " + rules + "}]"
	}
	const pods = "jane g get core/pods default"
	for name, tc := range map[string]struct {
		rules   string
		yes, no []string
	}{
		"a user":         {subject("{kind: User, user: {name: jane}}"), []string{pods, "jane g get /version"}, []string{"joe g get core/pods default"}},
		"every user":     {subject("{kind: User, user: {name: '*'}}"), []string{pods}, nil},
		"a group":        {subject("{kind: Group, group: {name: h}}"), []string{"jane g,h get core/pods default"}, []string{pods, "h g get core/pods default"}},
		"every group":    {subject("{kind: Group, group: {name: '*'}}"), []string{pods}, nil},
		"an account":     {subject("{kind: ServiceAccount, serviceAccount: {namespace: a, name: b}}"), []string{"system:serviceaccount:a:b g get core/pods x"}, []string{"system:serviceaccount:a:bb g get core/pods x", "system:serviceaccount:b:a g get core/pods x", "b g get core/pods x"}},
		"all accounts":   {subject("{kind: ServiceAccount, serviceAccount: {namespace: a, name: '*'}}"), []string{"system:serviceaccount:a:b g get core/pods x"}, []string{"system:serviceaccount:aa:b g get core/pods x", "a g get core/pods x"}},
		"a broken one":   {subject("{kind: User, group: {name: '*'}}"), nil, []string{pods}},
		"verbs":          {anybody("resourceRules: [{verbs: [get, list], apiGroups: ['*'], resources: ['*'], namespaces: ['*']}]"), []string{pods, "jane g list core/pods default"}, []string{"jane g watch core/pods default", "jane g get /version"}},
		"groups":         {anybody("resourceRules: [{verbs: ['*'], apiGroups: [apps], resources: ['*'], namespaces: ['*']}]"), []string{"jane g get apps/deployments default"}, []string{pods}},
		"the core":       {anybody("resourceRules: [{verbs: ['*'], apiGroups: [''], resources: ['*'], namespaces: ['*']}]"), []string{pods}, []string{"jane g get apps/deployments default"}},
		"a resource":     {anybody("resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: [pods], namespaces: ['*']}]"), []string{pods}, []string{"jane g get core/pods/status default", "jane g get core/podtemplates default"}},
		"a subresource":  {anybody("resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: [pods/status], namespaces: ['*']}]"), []string{"jane g get core/pods/status default"}, []string{pods, "jane g get core/pods/statuses default"}},
		"a namespace":    {anybody("resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: [default]}]"), []string{pods}, []string{"jane g get core/pods other", "jane g get core/nodes -", "jane g list core/pods -"}},
		"all namespaces": {anybody("resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*']}]"), []string{pods}, []string{"jane g list core/pods -"}},
		"the cluster":    {anybody("resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true}]"), []string{"jane g get core/nodes -"}, []string{pods}},
		"a path":         {anybody("nonResourceRules: [{verbs: [get], nonResourceURLs: [/healthz]}]"), []string{"jane g get /healthz", "jane g get /healthz/etcd"}, []string{"jane g get /healthzz", "jane g head /healthz", pods}},
		"paths below":    {anybody("nonResourceRules: [{verbs: ['*'], nonResourceURLs: [/apis/*]}]"), []string{"jane g get /apis/apps", "jane g get /apis/apps/v1"}, []string{"jane g get /apis", "jane g get /api"}},
		"two rules": {"[{subjects: [{kind: User, user: {name: joe}}], " + everything + "}, {subjects: [{kind: User, user: {name: jane}}], " + everything + "}]",
			[]string{pods, "joe g get core/pods default"}, []string{"jim g get core/pods default"}},
		"no rules": {"[]", nil, []string{pods}},
	} {
		t.Run(name, func(t *testing.T) {
			var spec flowcontrolv1.FlowSchemaSpec
			if err := yaml.UnmarshalStrict([]byte("rules: "+tc.rules), &spec); err != nil {
				t.Fatal(err)
			}
			schema := New(&spec)
			for _, text := range tc.yes {
				if !schema.Matches(request(text)) {
					t.Errorf("it is not about %q", text)
				}
			}
			for _, text := range tc.no {
				if schema.Matches(request(text)) {
					t.Errorf("it is about %q", text)
				}
			}
		})
	}
}
