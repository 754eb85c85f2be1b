package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/auth/token"
)

// cluster is a Reader of a handful of objects.
type cluster struct {
	objects []kinds.Object
	version int64
}

func (c *cluster) add(objs ...kinds.Object) {
	c.objects = append(c.objects, objs...)
	c.version++
}

func (c *cluster) Get(_ context.Context, r schema.GroupVersionResource, namespace, name string) (kinds.Object, error) {
	for _, obj := range c.of(r) {
		if obj.GetNamespace() == namespace && obj.GetName() == name {
			return obj, nil
		}
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

func (c *cluster) List(_ context.Context, r schema.GroupVersionResource, namespace string) ([]kinds.Object, error) {
	return slices.DeleteFunc(c.of(r), func(o kinds.Object) bool { return namespace != "" && o.GetNamespace() != namespace }), nil
}

func (c *cluster) ListOnly(_ context.Context, r schema.GroupVersionResource, namespace, value string) ([]kinds.Object, error) {
	return slices.DeleteFunc(c.of(r), func(o kinds.Object) bool {
		pod, ok := o.(*corev1.Pod)
		return !ok || o.GetNamespace() != namespace || pod.Spec.NodeName != value
	}), nil
}

func (c *cluster) Version(context.Context, schema.GroupVersionResource) (int64, error) {
	return c.version, nil
}

func (c *cluster) of(r schema.GroupVersionResource) []kinds.Object {
	return slices.DeleteFunc(slices.Clone(c.objects), func(o kinds.Object) bool {
		kind, err := kinds.Default().ForObject(o)
		return err != nil || kind.GVR() != r
	})
}

func newKey(t *testing.T) token.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newTestControl(t *testing.T, objs ...kinds.Object) (access.Control, *cluster) {
	t.Helper()
	c := &cluster{}
	c.add(Bootstrap()...)
	c.add(objs...)
	cfg := DefaultConfig()
	cfg.Tokens.Keys = []token.Key{newKey(t)}
	control, err := New(cfg)(c)
	if err != nil {
		t.Fatal(err)
	}
	return control, c
}

func person(name string, groups ...string) identity.Identity {
	return identity.Identity{Name: name, Groups: append(groups, identity.GroupAuthenticated)}
}

func roleBinding(namespace, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role + "-binding"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   subjects,
	}
}

// testPod is bound to a node and refers to one object of each kind.
func testPod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "runner",
			Containers: []corev1.Container{{Name: "c", EnvFrom: []corev1.EnvFromSource{{
				ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}},
			}}}},
			Volumes: []corev1.Volume{
				{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "password"}}},
				{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			},
		},
	}
}

// ann edits namespace a, vic views it, the service account a/robot
// administers it. Pod a/p runs on n1, a/q on n2.
func TestAuthorize(t *testing.T) {
	control, _ := newTestControl(t,
		roleBinding("a", "edit", rbacv1.Subject{Kind: "User", Name: "ann"}),
		roleBinding("a", "view", rbacv1.Subject{Kind: "Group", Name: "viewers"}),
		roleBinding("a", "admin", rbacv1.Subject{Kind: "ServiceAccount", Name: "robot"}),
		testPod("a", "p", "n1"),
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "q"}, Spec: corev1.PodSpec{NodeName: "n2"}},
	)
	ann, vic, robot := person("ann"), person("vic", "viewers"), person("system:serviceaccount:a:robot")
	n1, n2 := identity.Node("n1"), identity.Node("n2")
	anonymous := identity.FromContext(context.Background())
	call := func(verb, resource, namespace, name string) access.Attributes {
		group, resource, ok := strings.Cut(resource, ":")
		if !ok {
			group, resource = "", group
		}
		resource, sub, _ := strings.Cut(resource, "/")
		return access.Attributes{Verb: verb, Group: group, Version: "v1", Resource: resource, Subresource: sub, Namespace: namespace, Name: name}
	}
	selecting := func(a access.Attributes, fields string) access.Attributes {
		a.FieldSelector = fields
		return a
	}
	for _, c := range []struct {
		name string
		user identity.Identity
		call access.Attributes
		want bool
	}{
		{"masters do everything", person("root", identity.GroupMasters), call("delete", "nodes", "", "n1"), true},
		{"editors create", ann, call("create", "apps:deployments", "a", ""), true},
		{"editors read secrets", ann, call("get", "secrets", "a", "password"), true},
		{"editors read", ann, call("list", "pods", "a", ""), true},
		{"editors scale", ann, call("patch", "apps:deployments/scale", "a", "web"), true},
		{"not elsewhere", ann, call("list", "pods", "b", ""), false},
		{"not everywhere", ann, call("list", "pods", "", ""), false},
		{"editors do not grant", ann, call("create", "rbac.authorization.k8s.io:rolebindings", "a", ""), false},
		{"viewers read", vic, call("get", "pods/log", "a", "p"), true},
		{"viewers read no secrets", vic, call("get", "secrets", "a", "password"), false},
		{"viewers do not write", vic, call("patch", "pods", "a", "p"), false},
		{"a service account administers", robot, call("create", "rbac.authorization.k8s.io:roles", "a", ""), true},
		{"anybody asks about himself", person("nobody"), call("create", "authorization.k8s.io:selfsubjectaccessreviews", "", ""), true},
		{"anonymous asks nothing", anonymous, call("create", "authorization.k8s.io:selfsubjectaccessreviews", "", ""), false},
		{"anonymous sees health", anonymous, access.Attributes{Verb: "get", Path: "/readyz/etcd"}, true},
		{"anonymous sees the version", anonymous, access.Attributes{Verb: "get", Path: "/version"}, true},
		{"anonymous does not discover", anonymous, access.Attributes{Verb: "get", Path: "/apis"}, false},
		{"anonymous sees no metrics", anonymous, access.Attributes{Verb: "get", Path: "/metrics"}, false},
		{"users discover", person("nobody"), access.Attributes{Verb: "get", Path: "/apis/apps/v1"}, true},
		{"monitoring sees metrics", person("prom", "system:monitoring"), access.Attributes{Verb: "get", Path: "/metrics"}, true},

		{"the scheduler binds", identity.Service(identity.Scheduler), call("create", "pods/binding", "a", "p"), true},
		{"the scheduler reads no secrets", identity.Service(identity.Scheduler), call("get", "secrets", "a", "password"), false},
		{"controllers create pods", identity.Service(identity.Controller), call("create", "pods", "a", ""), true},
		{"controllers grant nothing", identity.Service(identity.Controller), call("create", "rbac.authorization.k8s.io:clusterrolebindings", "", ""), false},
		{"the proxy watches services", identity.Service(identity.Proxy), call("watch", "services", "", ""), true},
		{"the proxy reads no secrets", identity.Service(identity.Proxy), call("list", "secrets", "", ""), false},

		{"an agent lists its pods", n1, selecting(call("watch", "pods", "", ""), "spec.nodeName=n1"), true},
		{"not another's", n1, selecting(call("watch", "pods", "", ""), "spec.nodeName=n2"), false},
		{"not all", n1, call("list", "pods", "", ""), false},
		{"gets its pod", n1, call("get", "pods", "a", "p"), true},
		{"reports its pod", n1, call("patch", "pods/status", "a", "p"), true},
		{"not another's pod", n1, call("patch", "pods/status", "a", "q"), false},
		{"ends its pod", n1, call("delete", "pods", "a", "p"), true},
		{"not another's", n1, call("delete", "pods", "a", "q"), false},
		{"changes no pod's spec", n1, call("update", "pods", "a", "p"), false},
		{"execs into no pod", n1, call("create", "pods/exec", "a", "p"), false},
		{"binds no pod", n1, call("create", "pods/binding", "a", "p"), false},
		{"reads its pods' secrets", n1, call("get", "secrets", "a", "password"), true},
		{"watches one secret", n1, selecting(call("watch", "secrets", "a", ""), "metadata.name=password"), true},
		{"no other secret", n1, call("get", "secrets", "a", "other"), false},
		{"not all secrets", n1, call("list", "secrets", "a", ""), false},
		{"another's secret", n2, call("get", "secrets", "a", "password"), false},
		{"writes no secret", n1, call("update", "secrets", "a", "password"), false},
		{"reads its pods' config", n1, call("get", "configmaps", "a", "settings"), true},
		{"reads the CA", n1, call("get", "configmaps", "a", "kube-root-ca.crt"), true},
		{"reads its pods' claims", n1, call("get", "persistentvolumeclaims", "a", "data"), true},
		{"not another's claims", n2, call("get", "persistentvolumeclaims", "a", "data"), false},
		{"watches one of its pods' claims", n1, selecting(call("watch", "persistentvolumeclaims", "a", ""), "metadata.name=data"), true},
		{"tells how large it is", n1, call("update", "persistentvolumeclaims/status", "a", "data"), true},
		{"not of another's", n2, call("update", "persistentvolumeclaims/status", "a", "data"), false},
		{"gets its pods' tokens", n1, call("create", "serviceaccounts/token", "a", "runner"), true},
		{"not another's tokens", n2, call("create", "serviceaccounts/token", "a", "runner"), false},
		{"registers", n1, call("create", "nodes", "", ""), true},
		{"reports itself", n1, call("patch", "nodes/status", "", "n1"), true},
		{"not another node", n1, call("patch", "nodes/status", "", "n2"), false},
		{"sees the others", n1, call("list", "nodes", "", ""), true},
		{"asks no agent", n1, call("get", "nodes/proxy", "", "n1"), false},
		{"deletes no other node", n1, call("delete", "nodes", "", "n2"), false},
		{"renews its lease", n1, call("update", "coordination.k8s.io:leases", "kube-node-lease", "n1"), true},
		{"not another's", n1, call("update", "coordination.k8s.io:leases", "kube-node-lease", "n2"), false},
		{"no other lease", n1, call("update", "coordination.k8s.io:leases", "kube-system", "n1"), false},
		{"records events", n1, call("create", "events", "a", ""), true},
		{"grants nothing", n1, call("create", "rbac.authorization.k8s.io:clusterrolebindings", "", ""), false},
		{"a name alone makes no node", person("system:node:n1"), call("get", "secrets", "a", "password"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.call.User = c.user
			d, err := control.Authorizer.Authorize(t.Context(), c.call)
			if err != nil {
				t.Fatal(err)
			}
			if d.Allowed != c.want {
				t.Errorf("%s %s %s/%s: allowed %v (%s), want %v", c.user.Name, c.call.Verb, c.call.Resource, c.call.Name, d.Allowed, d.Reason, c.want)
			}
		})
	}
}

func TestRulesFollowChanges(t *testing.T) {
	control, c := newTestControl(t)
	call := access.Attributes{User: person("ann"), Verb: "get", Version: "v1", Resource: "pods", Namespace: "a", Name: "p"}
	if d, _ := control.Authorizer.Authorize(t.Context(), call); d.Allowed {
		t.Fatal("allowed before the binding")
	}
	c.add(roleBinding("a", "view", rbacv1.Subject{Kind: "User", Name: "ann"}))
	if d, _ := control.Authorizer.Authorize(t.Context(), call); !d.Allowed {
		t.Fatal("not allowed after the binding")
	}
}

func TestGuard(t *testing.T) {
	control, _ := newTestControl(t, roleBinding("a", "admin", rbacv1.Subject{Kind: "User", Name: "ann"}))
	role := func(resource string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "r"}, Rules: []rbacv1.PolicyRule{
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}},
		}}
	}
	mirror := testPod("a", "m", "n1")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	plain := mirror.DeepCopy()
	plain.Spec = corev1.PodSpec{NodeName: "n1"}
	tainted := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "k"}}}}
	fenced := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"node-restriction.kubernetes.io/trusted": "yes"}}}
	ann, n1 := person("ann"), identity.Node("n1")
	elsewhere := kept("n1")
	elsewhere.Spec.Local.Path = "/elsewhere"
	for _, c := range []struct {
		name     string
		user     identity.Identity
		obj, old kinds.Object
		want     string
	}{
		{"gives what she has", ann, role("pods"), nil, ""},
		{"gives more than she has", ann, role("nodes"), nil, "attempting to grant RBAC permissions not currently held"},
		{"leaves rules alone", ann, role("nodes"), role("nodes"), ""},
		{"binds what she has", ann, roleBinding("a", "edit"), nil, ""},
		{"binds more", ann, roleBinding("a", "cluster-admin"), nil, "not currently held"},
		{"binds nothing that is", ann, roleBinding("a", "missing"), nil, "not found"},
		{"masters give everything", person("root", identity.GroupMasters), roleBinding("a", "cluster-admin"), nil, ""},
		{"a mirror pod", n1, plain, nil, ""},
		{"a mirror pod that refers", n1, mirror, nil, "service account"},
		{"no mirror pod", n1, testPod("a", "p", "n1"), nil, "can only create mirror pods"},
		{"another node's mirror", identity.Node("n2"), plain, nil, "spec.nodeName set to itself"},
		{"its own node", n1, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, nil, ""},
		{"another node", n1, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, nil, "not allowed to modify node"},
		{"its own taints", n1, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, tainted, "taints"},
		{"a restricted label", n1, fenced, nil, "label"},
		{"a volume whose data it has removed", n1, kept("n1"), kept("n1", localpath.Finalizer), ""},
		{"another node's volume", n1, kept("n2"), kept("n2", localpath.Finalizer), "can only modify deleted volumes that it keeps"},
		{"more than the finalizer", n1, elsewhere, kept("n1", localpath.Finalizer), "can only take the finalizer"},
		{"another finalizer", n1, kept("n1"), kept("n1", localpath.Finalizer, "example.com/x"), "can only take the finalizer"},
		{"an unbound token", n1, &authenticationv1.TokenRequest{}, nil, "not bound to a pod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, err := kinds.Default().ForObject(c.obj)
			if err != nil {
				kind, _ = kinds.Default().ForObject(&corev1.ServiceAccount{})
			}
			err = control.Guard.CheckWrite(t.Context(), access.Write{User: c.user, Kind: kind, Object: c.obj, Old: c.old})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// kept is a deleted volume that a node keeps.
func kept(node string, finalizers ...string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: "v", DeletionTimestamp: &metav1.Time{}, Finalizers: finalizers, Labels: map[string]string{localpath.NodeLabel: node},
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": localpath.Provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/v"}}},
	}
}

func TestVolumesOfANode(t *testing.T) {
	mine, others := kept("n1"), kept("n2")
	mine.Name, others.Name = "mine", "others"
	mine.DeletionTimestamp, others.DeletionTimestamp = nil, nil
	control, _ := newTestControl(t, mine, others)
	for _, c := range []struct {
		verb, name, subresource, labels string
		want                            bool
	}{
		{"list", "", "", localpath.NodeLabel + "=n1", true},
		{"watch", "", "", localpath.NodeLabel + "=n1", true},
		{"watch", "", "", localpath.NodeLabel + "=n2", false},
		{"watch", "", "", "", false},
		{"get", "mine", "", "", true},
		{"update", "mine", "", "", true},
		{"update", "mine", "status", "", false},
		{"delete", "mine", "", "", false},
		{"get", "others", "", "", false},
		{"update", "others", "", "", false},
	} {
		d, err := control.Authorizer.Authorize(t.Context(), access.Attributes{
			User: identity.Node("n1"), Verb: c.verb, Version: "v1", Resource: "persistentvolumes",
			Name: c.name, Subresource: c.subresource, LabelSelector: c.labels,
		})
		if err != nil || d.Allowed != c.want {
			t.Errorf("%s %s/%s of %q: %+v, %v", c.verb, c.name, c.subresource, c.labels, d, err)
		}
	}
}

func TestImpersonate(t *testing.T) {
	control, _ := newTestControl(t, roleBinding("a", "edit", rbacv1.Subject{Kind: "User", Name: "ann"}))
	robot := identity.Identity{Name: "system:serviceaccount:a:robot"}
	got, err := control.Impersonator.Impersonate(t.Context(), person("ann"), robot)
	if err != nil {
		t.Fatal(err)
	}
	if !got.InGroup("system:serviceaccounts:a") || !got.InGroup(identity.GroupAuthenticated) {
		t.Errorf("groups are %v", got.Groups)
	}
	for _, as := range []identity.Identity{
		{Name: "system:serviceaccount:b:robot"},
		{Name: "bob"},
		{Name: robot.Name, Groups: []string{identity.GroupMasters}},
		{Name: robot.Name, UID: "1"},
		{Name: robot.Name, Extra: map[string][]string{"scopes": {"all"}}},
	} {
		if _, err := control.Impersonator.Impersonate(t.Context(), person("ann"), as); !apierrors.IsForbidden(err) {
			t.Errorf("%+v: got %v, want Forbidden", as, err)
		}
	}
	root := person("root", identity.GroupMasters)
	if _, err := control.Impersonator.Impersonate(t.Context(), root, identity.Identity{Name: "bob", Groups: []string{"devs"}}); err != nil {
		t.Errorf("masters may impersonate: %v", err)
	}
}

func TestServiceAccountTokens(t *testing.T) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "runner", UID: "sa-uid"}}
	pod := testPod("a", "p", "n1")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-uid"}}
	control, c := newTestControl(t, account, pod, node)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: pod.UID},
	}}
	if _, err := control.TokenIssuer.IssueToken(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	id, ok, err := control.Authenticator.AuthenticateToken(t.Context(), request.Status.Token, nil)
	if err != nil || !ok {
		t.Fatalf("the token is not accepted: %v", err)
	}
	if id.Name != "system:serviceaccount:a:runner" || id.UID != "sa-uid" || id.Extra["authentication.kubernetes.io/node-name"][0] != "n1" {
		t.Errorf("the token is %+v's", id)
	}
	if _, ok, _ := control.Authenticator.AuthenticateToken(t.Context(), request.Status.Token, []string{"vault"}); ok {
		t.Error("accepted for an audience it is not for")
	}
	if _, ok, _ := control.Authenticator.AuthenticateToken(t.Context(), request.Status.Token+"x", nil); ok {
		t.Error("accepted with a broken signature")
	}
	other, _ := newTestControl(t, account, pod, node)
	if _, ok, _ := other.Authenticator.AuthenticateToken(t.Context(), request.Status.Token, nil); ok {
		t.Error("accepted by a cluster with another key")
	}
	c.objects = slices.DeleteFunc(c.objects, func(o kinds.Object) bool { return o == kinds.Object(pod) })
	if _, ok, _ := control.Authenticator.AuthenticateToken(t.Context(), request.Status.Token, nil); ok {
		t.Error("accepted although its pod is gone")
	}
}

func TestTokenRequestsAreChecked(t *testing.T) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other", UID: "sa-uid"}}
	control, _ := newTestControl(t, account, testPod("a", "p", "n1"))
	short := int64(1)
	for name, spec := range map[string]authenticationv1.TokenRequestSpec{
		"too short":         {ExpirationSeconds: &short},
		"unknown kind":      {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Job", APIVersion: "batch/v1", Name: "j"}},
		"another's pod":     {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p"}},
		"pod that is not":   {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "x"}},
		"pod made anew":     {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: "before"}},
		"secret that isn't": {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: "x"}},
	} {
		if _, err := control.TokenIssuer.IssueToken(t.Context(), account, &authenticationv1.TokenRequest{Spec: spec}); err == nil {
			t.Errorf("%s: a token was issued", name)
		}
	}
}

func TestReviews(t *testing.T) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot", UID: "u"}}
	control, _ := newTestControl(t, account, roleBinding("a", "view", rbacv1.Subject{Kind: "User", Name: "ann"}))
	review := func(obj kinds.Object, namespace string) {
		t.Helper()
		kind, err := kinds.Default().ForObject(obj)
		if err != nil {
			t.Fatal(err)
		}
		if err := control.Reviewer.Review(t.Context(), person("ann"), kind, namespace, obj); err != nil {
			t.Fatal(err)
		}
	}
	pods := &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "a"}

	self := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods}}
	if review(self, ""); !self.Status.Allowed {
		t.Error("ann may get pods, the review says no")
	}
	bob := &authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "bob", ResourceAttributes: pods}}
	if review(bob, "a"); bob.Status.Allowed {
		t.Error("bob may not get pods, the review says yes")
	}
	rules := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "a"}}
	if review(rules, ""); rules.Spec.Namespace != "" || len(rules.Status.ResourceRules) == 0 || len(rules.Status.NonResourceRules) == 0 {
		t.Errorf("ann's rules are %+v", rules.Status)
	}
	who := &authenticationv1.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{Name: "me", Labels: map[string]string{"a": "b"}}}
	if review(who, ""); who.Status.UserInfo.Username != "ann" || who.Name != "" || who.Labels != nil || who.CreationTimestamp.IsZero() {
		t.Errorf("ann is %+v", who)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}}
	if _, err := control.TokenIssuer.IssueToken(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	tokens := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: request.Status.Token, Audiences: []string{"vault", "other"}}}
	if review(tokens, ""); !tokens.Status.Authenticated || !slices.Equal(tokens.Status.Audiences, []string{"vault"}) {
		t.Errorf("the token's review says %+v", tokens.Status)
	}
}
