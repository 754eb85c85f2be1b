package horizontalpodautoscaler

import "navarch.dev/navarch/services/controller/horizontalpodautoscaler/metricsapi"

// FiguresOf are the figures of registered servers only.
func FiguresOf(apis *metricsapi.APIs) Figures { return &figures{apis: apis} }
