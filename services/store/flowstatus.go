package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/registry"
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
		writes = append(writes, func() error { return s.applyDangling(ctx, schema, found) })
	}
	return together(writes)
}

// flowManager is who applies the conditions of FlowSchemas, as in Kubernetes.
const flowManager = "api-priority-and-fairness-config-consumer-v1"

func (s *Store) applyDangling(ctx context.Context, schema *flowcontrolv1.FlowSchema, found bool) error {
	w, err := s.ownWrite(schema)
	if err != nil {
		return err
	}
	w.Subresource, w.Manager = "status", flowManager
	condition := dangling(schema, found)
	condition.LastTransitionTime = metav1.Now()
	applied, err := json.Marshal(map[string]any{
		"apiVersion": w.Kind.GVK().GroupVersion().String(), "kind": w.Kind.Kind, "metadata": map[string]any{"name": schema.Name},
		"status": map[string]any{"conditions": []any{condition}},
	})
	if err != nil {
		return fmt.Errorf("encode the status of FlowSchema %s: %w", schema.Name, err)
	}
	_, err = s.registry.Apply(ctx, w, registry.PatchOptions{Type: storev1.PatchType_PATCH_TYPE_APPLY, Patch: applied, Force: true})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("write the status of FlowSchema %s: %w", schema.Name, err)
	}
	return nil
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
