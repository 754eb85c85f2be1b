package kinds

import policyv1 "k8s.io/api/policy/v1"

// policyKinds are the kinds of policy/v1.
func policyKinds() []*Kind {
	return []*Kind{
		object[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](Kind{
			Group: "policy", Version: "v1", Resource: "poddisruptionbudgets", Kind: "PodDisruptionBudget", Singular: "poddisruptionbudget",
			ShortNames:   []string{"pdb"},
			Namespaced:   true,
			Subresources: []string{"status"},
			NameRule:     PathSegment,
			Columns:      disruptionBudgetColumns(),
			NamedOnce:    true,
			Strategy:     disruptionBudgetStrategy(),
		}),
	}
}
