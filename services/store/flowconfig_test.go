package store_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

func TestDefaultsOfFlowControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.New(t)
		c := s.Client(storetest.Admin())
		for _, d := range flowdefaults.Schemas() {
			schema := &flowcontrolv1.FlowSchema{}
			if err := c.Get(t.Context(), "", d.Name, schema); err != nil {
				t.Fatal(err)
			}
			if schema.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != "true" || conditionOf(schema) != "False Found" {
				t.Errorf("%s has the annotations %v and is dangling: %q", d.Name, schema.Annotations, conditionOf(schema))
			}
		}
		level := func(name string) *flowcontrolv1.PriorityLevelConfiguration {
			t.Helper()
			l := &flowcontrolv1.PriorityLevelConfiguration{}
			if err := c.Get(t.Context(), "", name, l); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return l
		}
		// What administrators do, and what becomes of it.
		mine := level("system")
		mine.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] = "false"
		mine.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](7)
		theirs := level("workload-low")
		theirs.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](7)
		exempt := level("exempt")
		exempt.Spec.Exempt.NominalConcurrencyShares = ptr.To[int32](7)
		for _, l := range []*flowcontrolv1.PriorityLevelConfiguration{mine, theirs, exempt} {
			if err := c.Update(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		abandoned := smallLevel(0)
		abandoned.Annotations = map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}
		own := smallLevel(0)
		own.Name = "own"
		create(t, c, abandoned, own)
		for _, name := range []string{"catch-all", "node-high"} {
			if err := c.Delete(t.Context(), &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}, client.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		shares := func(l *flowcontrolv1.PriorityLevelConfiguration) int32 {
			return *l.Spec.Limited.NominalConcurrencyShares
		}
		if shares(level("system")) != 7 || shares(level("workload-low")) != 100 || *level("exempt").Spec.Exempt.NominalConcurrencyShares != 7 {
			t.Error("only system, which does not follow, and the shares of exempt are the administrator's")
		}
		level("catch-all")
		level("node-high")
		level("own")
		if err := c.Get(t.Context(), "", "small", &flowcontrolv1.PriorityLevelConfiguration{}); !apierrors.IsNotFound(err) {
			t.Errorf("an object that says it is a default: %v", err)
		}
	})
}

func TestMandatoryFlowObjectsHaveOneSpec(t *testing.T) {
	s := storetest.New(t)
	c := s.Client(storetest.Admin())
	schema := &flowcontrolv1.FlowSchema{}
	if err := c.Get(t.Context(), "", "catch-all", schema); err != nil {
		t.Fatal(err)
	}
	schema.Spec.MatchingPrecedence = 9999
	if err := c.Update(t.Context(), schema); !apierrors.IsInvalid(err) {
		t.Errorf("another precedence of catch-all: %v", err)
	}
	level := &flowcontrolv1.PriorityLevelConfiguration{}
	if err := c.Get(t.Context(), "", "catch-all", level); err != nil {
		t.Fatal(err)
	}
	level.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](9)
	if err := c.Update(t.Context(), level); !apierrors.IsInvalid(err) {
		t.Errorf("other shares of catch-all: %v", err)
	}
}

func TestDanglingFlowSchemas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := storetest.New(t).Client(storetest.Admin())
		create(t, c, schemaOf("mine", "jane", "small"))
		for _, tc := range []struct {
			change func(*testing.T, *client.Client)
			want   string
		}{
			{func(*testing.T, *client.Client) {}, "True NotFound"},
			{func(t *testing.T, c *client.Client) { create(t, c, smallLevel(0)) }, "False Found"},
			{func(t *testing.T, c *client.Client) {
				if err := c.Delete(t.Context(), smallLevel(0), client.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}, "True NotFound"},
		} {
			tc.change(t, c)
			synctest.Wait()
			schema := &flowcontrolv1.FlowSchema{}
			if err := c.Get(t.Context(), "", "mine", schema); err != nil {
				t.Fatal(err)
			}
			if got := conditionOf(schema); got != tc.want {
				t.Errorf("the schema is dangling: %q, want %q", got, tc.want)
			}
			if !slices.ContainsFunc(schema.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
				return e.Manager == "api-priority-and-fairness-config-consumer-v1" && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "status"
			}) {
				t.Errorf("the condition belongs to %+v", schema.ManagedFields)
			}
		}
	})
}

// Stores that agree about the objects write none of them.
func TestFlowControlIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New()
		defer b.Close()
		c := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
		storetest.New(t, storetest.WithBackend(b))
		create(t, c, schemaOf("mine", "jane", "none"))
		versions := func() (out []string) {
			synctest.Wait()
			schemas, levels := &flowcontrolv1.FlowSchemaList{}, &flowcontrolv1.PriorityLevelConfigurationList{}
			for _, list := range []kinds.List{schemas, levels} {
				if err := c.List(t.Context(), list, client.ListOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range schemas.Items {
				out = append(out, s.Name+" "+s.ResourceVersion)
			}
			for _, l := range levels.Items {
				out = append(out, l.Name+" "+l.ResourceVersion)
			}
			return out
		}
		before := versions()
		time.Sleep(time.Hour)
		if diff := cmp.Diff(before, versions()); diff != "" {
			t.Errorf("objects were written within an hour: %s", diff)
		}
	})
}

// conditionOf returns the status and the reason of a schema's only condition.
func conditionOf(s *flowcontrolv1.FlowSchema) string {
	if len(s.Status.Conditions) != 1 || s.Status.Conditions[0].Type != flowcontrolv1.FlowSchemaConditionDangling {
		return ""
	}
	return string(s.Status.Conditions[0].Status) + " " + s.Status.Conditions[0].Reason
}
