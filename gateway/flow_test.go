package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/storetest"
)

// holding lets everybody do everything, but holds requests for objects named
// "held" back, which have a seat by then, until they are let go.
type holding struct{ holds, let chan struct{} }

func (h holding) Authorize(ctx context.Context, a access.Attributes) (access.Decision, error) {
	if a.Name == "held" {
		h.holds <- struct{}{}
		select {
		case <-h.let:
		case <-ctx.Done():
		}
	}
	return access.Decision{Allowed: true}, nil
}

// smallLevel makes a priority level of one seat for a user's requests.
func smallLevel(t *testing.T, admin *kubernetes.Clientset, user string) (*flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.FlowSchema) {
	t.Helper()
	level := flowdefaults.MandatoryLevels()[1]
	level.ObjectMeta = metav1.ObjectMeta{Name: "small"}
	level.Spec.Limited.BorrowingLimitPercent = ptr.To[int32](0)
	schema := flowdefaults.MandatorySchemas()[1]
	schema.ObjectMeta = metav1.ObjectMeta{Name: "small"}
	schema.Spec.MatchingPrecedence, schema.Spec.PriorityLevelConfiguration.Name = 200, "small"
	schema.Spec.Rules[0].Subjects = []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: user}}}
	level, err := admin.FlowcontrolV1().PriorityLevelConfigurations().Create(t.Context(), level, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if schema, err = admin.FlowcontrolV1().FlowSchemas().Create(t.Context(), schema, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return level, schema
}

func TestFlowControl(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	cfg := store.DefaultConfig()
	cfg.Flow.MaxRequests, cfg.Flow.MaxMutating = 4, 4
	hold := holding{make(chan struct{}), make(chan struct{})}
	c.store = storetest.New(t, storetest.WithConfig(cfg), storetest.WithControl(func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: hold}, nil
	}))
	c.serve(noNodes{})
	level, schema := smallLevel(t, c.clientset("application/json"), "jane")
	jane, joe := c.http("jane"), c.http("joe")
	small := func(a answer) bool {
		return a.header.Get("X-Kubernetes-PF-FlowSchema-UID") == string(schema.UID) && a.header.Get("X-Kubernetes-PF-PriorityLevel-UID") == string(level.UID)
	}
	for !small(c.do(jane, "GET", "/version", nil)) { // until the Store goes by them
	}
	const configMaps = "/api/v1/namespaces/default/configmaps"
	for _, tc := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/version", "", 200},
		{"GET", "/apis", "", 200},
		{"GET", "/metrics", "", 200},
		{"GET", configMaps, "", 200},
		{"GET", configMaps + "?watch=1&timeoutSeconds=1", "", 200},
		{"GET", configMaps + "/none", "", 404},
		{"POST", configMaps, `{"metadata":{"name":"a"}}`, 201},
		{"POST", configMaps, `{"metadata":{"name":"A"}}`, 422},
		{"DELETE", configMaps + "/a", "", 200},
	} {
		var body io.Reader
		if tc.body != "" {
			body = strings.NewReader(tc.body)
		}
		a := c.do(jane, tc.method, tc.path, body, "Content-Type", "application/json")
		if a.code != tc.code || !small(a) {
			t.Errorf("%s %s: %d, want %d, with %v", tc.method, tc.path, a.code, tc.code, a.header)
		}
	}
	if a := c.do(joe, "GET", configMaps, nil); small(a) || a.header.Get("X-Kubernetes-PF-FlowSchema-UID") == "" {
		t.Errorf("joe's request has %v", a.header)
	}
	if a := c.do(joe, "GET", "/metrics", nil); !strings.Contains(a.body, `apiserver_flowcontrol_nominal_limit_seats{priority_level="small"} 1`) {
		t.Errorf("the metrics do not tell of the level: %.2000s", a.body)
	}

	held := make(chan answer)
	go func() { held <- c.do(jane, "GET", configMaps+"/held", nil) }()
	<-hold.holds
	for _, path := range []string{configMaps, configMaps + "/none", configMaps + "?watch=1&timeoutSeconds=1", "/version"} {
		a := c.do(jane, "GET", path, nil)
		var status metav1.Status
		if err := json.Unmarshal([]byte(a.body), &status); err != nil {
			t.Errorf("%s: %v in %q", path, err, a.body)
		}
		if a.code != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || status.Reason != metav1.StatusReasonTooManyRequests || !small(a) {
			t.Errorf("%s without a seat: %d, %v, %v", path, a.code, a.header, status)
		}
		if a := c.do(joe, "GET", path, nil); a.code == http.StatusTooManyRequests {
			t.Errorf("joe, of %s: %d", path, a.code)
		}
	}
	if a := c.do(jane, "GET", "/readyz", nil); a.code != 200 {
		t.Errorf("jane, of the gateway's health: %d", a.code)
	}
	close(hold.let)
	if a := <-held; a.code != 404 {
		t.Errorf("the request that was served: %d", a.code)
	}
	if a := c.do(jane, "GET", configMaps, nil); a.code != 200 {
		t.Errorf("jane, when her first request has ended: %d", a.code)
	}
}
