package resilience_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"navarch.dev/navarch/internal/testcluster"
)

// Two users share a priority level of three seats, whose queues hold one request
// each.
const flooded = `
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: flooded}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 1
    borrowingLimitPercent: 0
    limitResponse: {type: Queue, queuing: {queues: 128, handSize: 6, queueLengthLimit: 1}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: flooded}
spec:
  matchingPrecedence: 600
  distinguisherMethod: {type: ByUser}
  priorityLevelConfiguration: {name: flooded}
  rules:
  - subjects: [{kind: User, user: {name: jane}}, {kind: User, user: {name: joe}}]
    resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: joe}
`

// rewriter writes a ConfigMap of its user's over and over.
type rewriter struct {
	client rest.Interface
	object corev1.ConfigMap
}

func newRewriter(t *testing.T, c *testcluster.Cluster, user string) rewriter {
	t.Helper()
	config := c.RESTConfig(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	object, err := clientset.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: user}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object.ResourceVersion = "" // what others have written is written over
	return rewriter{clientset.CoreV1().RESTClient(), *object}
}

// write writes once, and does not try again what is refused.
func (w rewriter) write(ctx context.Context, n int64) error {
	w.object.Data = map[string]string{"n": fmt.Sprint(n)}
	return w.client.Put().Namespace("default").Resource("configmaps").Name(w.object.Name).Body(&w.object).MaxRetries(0).Do(ctx).Error()
}

// A user who asks for more than there is gets refusals. Others of the same
// priority level get their part, and agents do not notice.
func TestFloodLeavesOthersServed(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	c.KubectlInput(t, flooded, "apply", "-f", "-")
	testcluster.Eventually(t, "the Store goes by the new FlowSchema", func() error {
		schema, err := c.Clientset(t).FlowcontrolV1().FlowSchemas().Get(t.Context(), "flooded", metav1.GetOptions{})
		if err == nil && (len(schema.Status.Conditions) == 0 || schema.Status.Conditions[0].Status != flowcontrolv1.ConditionFalse) {
			err = fmt.Errorf("its conditions are %v", schema.Status.Conditions)
		}
		return err
	})
	jane, joe := newRewriter(t, c, "jane"), newRewriter(t, c, "joe")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var written, refused atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				switch err := jane.write(ctx, written.Load()); {
				case err == nil:
					written.Add(1)
				case apierrors.IsTooManyRequests(err):
					refused.Add(1)
				case !apierrors.IsConflict(err) && !errors.Is(err, context.Canceled):
					t.Errorf("jane's write: %v", err)
					return
				}
			}
		})
	}
	underFlood := func(what string, want int64) {
		t.Helper()
		want += refused.Load()
		testcluster.Eventually(t, what, func() error {
			if n := refused.Load(); n < want {
				return fmt.Errorf("%d are of %d", n, want)
			}
			return nil
		})
	}
	underFlood("jane's requests are refused", 100)
	for n := range int64(50) {
		if err := joe.write(t.Context(), n); err != nil {
			t.Fatalf("joe's write %d, while jane's are refused: %v", n, err)
		}
	}
	c.Kubectl(t, "run", "served", "--image="+testcluster.BusyboxImage, "--restart=Never", "--", "true")
	testcluster.Eventually(t, "a pod runs", func() error {
		if phase := c.Kubectl(t, "get", "pod", "served", "-o", "jsonpath={.status.phase}"); phase != string(corev1.PodSucceeded) {
			return fmt.Errorf("it is %s", phase)
		}
		return nil
	})
	underFlood("jane's requests are still refused", 100)
	if written.Load() == 0 {
		t.Error("none of jane's writes was served")
	}
	metrics := c.Kubectl(t, "get", "--raw", "/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "apiserver_flowcontrol_rejected_requests_total{") && !strings.Contains(line, `flow_schema="flooded"`) {
			t.Errorf("others were refused too: %s", line)
		}
	}
}
