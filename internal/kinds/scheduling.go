package kinds

import schedulingv1 "k8s.io/api/scheduling/v1"

// schedulingKinds are the kinds of scheduling.k8s.io/v1.
func schedulingKinds() []*Kind {
	return []*Kind{
		object[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](Kind{
			Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses", Kind: "PriorityClass", Singular: "priorityclass",
			ShortNames: []string{"pc"},
			Columns:    priorityClassColumns(),
			NamedOnce:  true,
			Strategy:   priorityClassStrategy(),
		}),
	}
}
