package kinds

import flowcontrolv1 "k8s.io/api/flowcontrol/v1"

// flowcontrolKinds are the kinds of flowcontrol.apiserver.k8s.io/v1.
func flowcontrolKinds() []*Kind {
	return []*Kind{
		object[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList](Kind{
			Group: flowcontrolv1.GroupName, Version: "v1", Resource: "flowschemas", Kind: "FlowSchema", Singular: "flowschema",
			Subresources: []string{"status"},
			Columns:      flowSchemaColumns(),
			Strategy:     flowSchemaStrategy(),
		}),
		object[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](Kind{
			Group: flowcontrolv1.GroupName, Version: "v1", Resource: "prioritylevelconfigurations", Kind: "PriorityLevelConfiguration",
			Singular:     "prioritylevelconfiguration",
			Subresources: []string{"status"},
			Columns:      priorityLevelColumns(),
			Strategy:     priorityLevelStrategy(),
		}),
	}
}
