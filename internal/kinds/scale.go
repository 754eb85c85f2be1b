package kinds

import (
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
)

// Scale returns the kind as which every kind's scale is shown. It is in no registry,
// as there is no resource of it.
var Scale = sync.OnceValue(func() *Kind {
	return review[autoscalingv1.Scale](Kind{
		Group: autoscalingv1.GroupName, Version: "v1", Resource: "scales", Kind: "Scale", Namespaced: true,
		Columns: []Column{
			text("Name", metaDoc("name"), func(s *autoscalingv1.Scale) string { return s.Name }),
			number("Desired", autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"], func(s *autoscalingv1.Scale) int64 { return int64(s.Spec.Replicas) }),
			number("Available", autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"], func(s *autoscalingv1.Scale) int64 { return int64(s.Status.Replicas) }),
			ageColumn(),
		},
	})
})
