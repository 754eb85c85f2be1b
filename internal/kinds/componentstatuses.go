package kinds

import corev1 "k8s.io/api/core/v1"

func componentStatusColumns() []Column {
	column := func(name string, of func(corev1.ComponentCondition) string, otherwise string) Column {
		return text(name, name+" of the component conditions", func(s *corev1.ComponentStatus) string {
			for _, c := range s.Conditions {
				if c.Type == corev1.ComponentHealthy {
					return of(c)
				}
			}
			return otherwise
		})
	}
	return columns(
		column("Status", func(c corev1.ComponentCondition) string {
			if c.Status == corev1.ConditionTrue {
				return "Healthy"
			}
			return "Unhealthy"
		}, "Unknown"),
		column("Message", func(c corev1.ComponentCondition) string { return c.Message }, ""),
		column("Error", func(c corev1.ComponentCondition) string { return c.Error }, ""),
	)
}
