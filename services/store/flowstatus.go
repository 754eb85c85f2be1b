package store

import (
	"context"
	"fmt"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
)

// markDangling makes the schemas' conditions say whether their priority levels
// are among those that exist.
func (s *Store) markDangling(ctx context.Context, schemas []*flowcontrolv1.FlowSchema, exist []string) error {
	var writes []func() error
	for _, schema := range schemas {
		found := slices.Contains(exist, schema.Spec.PriorityLevelConfiguration.Name)
		if marked(schema, found) {
			continue
		}
		writes = append(writes, func() error {
			w, err := s.ownWrite(schema)
			if err != nil {
				return err
			}
			w.Subresource = "status"
			_, err = s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) { return mark(cur.Object(), found), nil })
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("write the status of FlowSchema %s: %w", schema.Name, err)
			}
			return nil
		})
	}
	return together(writes)
}

// dangling is the condition of a schema whose priority level was found or not.
func dangling(schema *flowcontrolv1.FlowSchema, found bool) flowcontrolv1.FlowSchemaCondition {
	name := schema.Spec.PriorityLevelConfiguration.Name
	condition := flowcontrolv1.FlowSchemaCondition{
		Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", name),
	}
	if !found {
		condition.Status, condition.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		condition.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", name)
	}
	return condition
}

func danglingOf(schema *flowcontrolv1.FlowSchema) int {
	return slices.IndexFunc(schema.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) bool {
		return c.Type == flowcontrolv1.FlowSchemaConditionDangling
	})
}

// marked says whether a schema's condition is what it must be.
func marked(schema *flowcontrolv1.FlowSchema, found bool) bool {
	i := danglingOf(schema)
	if i < 0 {
		return false
	}
	want := dangling(schema, found)
	want.LastTransitionTime = schema.Status.Conditions[i].LastTransitionTime
	return schema.Status.Conditions[i] == want
}

// mark returns a schema with the condition that it must have.
func mark(obj kinds.Object, found bool) kinds.Object {
	schema, ok := obj.DeepCopyObject().(*flowcontrolv1.FlowSchema)
	if !ok || marked(schema, found) {
		return schema
	}
	condition := dangling(schema, found)
	condition.LastTransitionTime = metav1.Now()
	if i := danglingOf(schema); i >= 0 {
		schema.Status.Conditions[i] = condition
	} else {
		schema.Status.Conditions = append(schema.Status.Conditions, condition)
	}
	return schema
}
