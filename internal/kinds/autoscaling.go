package kinds

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// autoscalingKinds are the kinds of autoscaling/v2, and their older form.
func autoscalingKinds() []*Kind {
	return []*Kind{
		object[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](Kind{
			Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Singular: "horizontalpodautoscaler",
			ShortNames:   []string{"hpa"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      autoscalerColumns(),
			NamedOnce:    true,
			Strategy:     autoscalerStrategy(),
		}),
		object[autoscalingv1.HorizontalPodAutoscaler, autoscalingv1.HorizontalPodAutoscalerList](Kind{
			Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Singular: "horizontalpodautoscaler",
			ShortNames:   []string{"hpa"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      autoscalerV1Columns(),
			NamedOnce:    true,
			Strategy:     autoscalerV1Strategy(),
			StoredAs:     sharedAutoscalers(),
		}),
	}
}
