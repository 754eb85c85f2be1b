package kinds

import autoscalingv2 "k8s.io/api/autoscaling/v2"

// autoscalingKinds are the kinds of autoscaling/v2.
func autoscalingKinds() []*Kind {
	return []*Kind{
		object[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](Kind{
			Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Singular: "horizontalpodautoscaler",
			ShortNames:   []string{"hpa"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
		}),
	}
}
